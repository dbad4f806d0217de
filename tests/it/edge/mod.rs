//! At the edge: what a gateway must stand that faces the internet on one side and real services on the other.

mod backends;
mod faults;
mod upstream_tls;
mod upstreams;
