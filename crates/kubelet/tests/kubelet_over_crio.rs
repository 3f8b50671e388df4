//! The whole suite of `kubelet.rs` over a runtime that answers as CRI-O does: see `fake_cri/profile.rs`.

#[path = "kubelet.rs"]
mod kubelet;
