// A file of its own, because the page's Content-Security-Policy allows no inline script.
SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#viewer",
  deepLinking: true,
  // Without this the viewer sends the document's address to a validator on the internet.
  validatorUrl: null,
});
