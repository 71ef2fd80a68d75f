//! Objects from the Kubernetes API: so far, that the tests' own API server is one.

mod api_server;
