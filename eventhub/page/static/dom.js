// Elements without a framework. Text only ever goes in as text: nothing here parses HTML.

const SVG = "http://www.w3.org/2000/svg";

export const byId = (id) => document.getElementById(id);

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === true) node.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined && child !== "" && child !== false));
  return node;
}

export function el(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

export function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

/** A symbol of index.html. */
export function icon(name) {
  return svg("svg", { class: `icon icon-${name}`, "aria-hidden": "true" }, svg("use", { href: `#i-${name}` }));
}

/** Write text only where it changed, so that nothing is announced or laid out twice. */
export function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** One call per animation frame, however often it is asked for. Background tabs get theirs from a timer. */
export function perFrame(draw) {
  let waiting = false;
  return () => {
    if (waiting) return;
    waiting = true;
    let done = false;
    const run = () => {
      if (done) return;
      done = true;
      waiting = false;
      draw();
    };
    requestAnimationFrame(run);
    setTimeout(run, 250);
  };
}
