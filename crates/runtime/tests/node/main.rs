//! The runtime as a process, driven through its socket, with real containers.

mod confinement;
mod containers;
mod contexts;
mod damage;
mod full;
mod handlers;
mod images;
mod mounts;
mod pods;
mod refusals;
mod registry;
mod restart;
mod sparse;
mod spdy_streams;
mod starts;
mod stats;
mod streams;
mod support;
mod tools;
mod users;
