"""Billing: plans and Stripe. Nothing is here yet; the module has its place so that nobody else grows it."""
