// The documentation of the REST API. Everything on the page comes from this server: no validator.
SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#docs",
  deepLinking: true,
  defaultModelsExpandDepth: 0,
  validatorUrl: null,
  // The document names the public address of the hub. "Try it out" calls the server of this page
  // instead: the content security policy allows no other.
  requestInterceptor(request) {
    const url = new URL(request.url, location.origin);
    request.url = location.origin + url.pathname + url.search;
    return request;
  },
});
