//! At the edge: what clients on the internet and in the network see of the gateway.

mod frames;
mod h2;
mod pki;
mod tls;
