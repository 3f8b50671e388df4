//! The kubelet's configuration as upstream's has it: the document `KubeletConfiguration`, where it comes from, what it
//! may say, and what each of its fields does here.
//!
//! [`Sources`] become one [`KubeletConfiguration`], which is judged once and put into the kubelet's [`Config`] by one
//! module an area ([`mapping`]). What does nothing here is listed in [`without_effect`], and said at the start.
//!
//! [`Config`]: crate::Config

mod defaults;
mod document;
mod duration;
mod load;
mod mapping;
mod parts;
mod validation;
mod without_effect;

pub use document::KubeletConfiguration;
pub use duration::{GoDuration, InvalidDuration};
pub use load::{ConfigurationError, Sources, is_configuration};
