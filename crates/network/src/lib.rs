//! Node library: bridge, addresses, routes and masquerade.
