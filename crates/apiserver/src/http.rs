//! What requests and answers are made of, apart from the objects in them.

pub(crate) mod body;
pub(crate) mod gzip;
mod lists;
pub(crate) mod negotiate;
pub(crate) mod options;
pub(crate) mod output;
pub(crate) mod request_info;
