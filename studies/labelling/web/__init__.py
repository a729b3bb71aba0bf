"""The web application: routes, pages, sessions and what protects them."""
