//! At the edge: what servers of several makes see in a path, what answers say of the gateway, traces.

mod proxy_status;
mod readings;
mod servers;
mod tracing;
