//! Component: the kubelet.
