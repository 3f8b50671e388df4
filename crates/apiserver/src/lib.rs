//! Server: the API server.
