//! Engine: the revisioned key-value seam and the embedded engine.
