//! Library: certificate authorities, issuing and service account signing keys.
