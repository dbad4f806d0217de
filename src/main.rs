//! The `wardgate` program: see `wardgate --help`.

use std::process::ExitCode;

/// A request makes some fifty short-lived allocations; this allocator takes them at half the cost of glibc's
/// (`docs/decisions/0008-allocator.md`).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // Two libraries bring a cryptography provider; without a choice the first TLS handshake would panic.
    if rustls::crypto::aws_lc_rs::default_provider().install_default().is_err() {
        eprintln!("wardgate: another cryptography provider is installed already");
        return ExitCode::FAILURE;
    }
    // The allocator asks for huge pages: then the untouched rest of each buffer of each connection would be memory that is
    // really taken, twice as much for thousands of slow uploads. An older kernel that refuses only costs that memory.
    let _ = nix::sys::prctl::set_thp_disable(true);
    wardgate::cli::main()
}
