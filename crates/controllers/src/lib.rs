//! Component: the controllers.
