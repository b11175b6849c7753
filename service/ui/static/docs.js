// Draws the service's own description of its API. No validator: it would send the description elsewhere.

SwaggerUIBundle({ url: "/openapi.json", dom_id: "#api", validatorUrl: null, defaultModelsExpandDepth: 0 });
