// Show the service's openapi.json. The validator is off, because it would send the file to another server.

SwaggerUIBundle({ url: "/openapi.json", dom_id: "#api", validatorUrl: null, defaultModelsExpandDepth: 0 });
