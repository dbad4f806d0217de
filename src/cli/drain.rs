//! `wardgate drain`: has a running gateway send its clients elsewhere before it is stopped.

use std::path::PathBuf;
use std::process::ExitCode;

use rustix::process::{Pid, Signal, kill_process};

/// Which gateway.
#[derive(Debug, clap::Args)]
#[group(multiple = false)]
pub struct Arguments {
    /// The gateway's process id. In a container of its own it is 1.
    #[arg(long, value_name = "PID", default_value_t = 1)]
    pid: i32,
    /// The file that `wardgate run --pid-file` keeps.
    #[arg(long, value_name = "FILE")]
    pid_file: Option<PathBuf>,
}

/// Tells it.
pub fn drain(arguments: &Arguments) -> ExitCode {
    match tell(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn tell(arguments: &Arguments) -> Result<(), String> {
    let number = match &arguments.pid_file {
        None => arguments.pid,
        Some(path) => {
            let shown = path.display();
            let text =
                std::fs::read_to_string(path).map_err(|cause| format!("`{shown}` can't be read: {cause}"))?;
            text.trim().parse().map_err(|_| format!("`{shown}` holds no process id"))?
        }
    };
    // Others than positive ones name whole groups of processes.
    let pid = Some(number).filter(|number| *number > 0).and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| format!("{number} is no process id"))?;
    kill_process(pid, Signal::USR1).map_err(|cause| {
        format!("the process {number} can't be told: {cause}; does the gateway run, and do you run as its user or root?")
    })
}
