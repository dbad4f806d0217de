//! Asks a running gateway on its operators' socket.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use serde_json::Value;

/// How long the gateway may take to answer.
const TIME: Duration = Duration::from_secs(15);

/// Posts an order to `/v1/{what}` and gives the answer.
///
/// # Errors
/// The gateway can't be asked, or did not do it, in words for people.
pub fn ask(socket: &Path, what: &str, order: &Value) -> Result<Value, String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("a runtime can't be started: {error}"))?;
    let shown = socket.display();
    let (status, text) = runtime
        .block_on(async {
            let client = reqwest::Client::builder().unix_socket(socket).timeout(TIME).build()?;
            let request = client.post(format!("http://localhost/v1/{what}")).body(order.to_string());
            let answer = request.send().await?;
            Ok::<_, reqwest::Error>((answer.status(), answer.text().await?))
        })
        .map_err(|error| {
            format!(
                "the gateway can't be asked on `{shown}`: {error}; is `operators` configured, and do you run as the gateway's user or root?"
            )
        })?;
    let told: Value =
        serde_json::from_str(&text).map_err(|_| format!("`{shown}` gave no answer of Wardgate's"))?;
    if status.is_success() {
        return Ok(told);
    }
    Err(told.get("error").and_then(Value::as_str).unwrap_or("the gateway refused").to_owned())
}

/// Prints what the gateway told, one a line and text as it stands, or why it did not.
pub fn print(answer: Result<Vec<Value>, String>) -> ExitCode {
    match answer {
        Ok(lines) => {
            for line in lines {
                match line {
                    Value::String(text) => println!("{text}"),
                    line => println!("{line}"),
                }
            }
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("error: {why}");
            ExitCode::FAILURE
        }
    }
}

/// Reads an access token.
///
/// # Errors
/// The file can't be read, in words for people.
pub fn token(path: &Path) -> Result<String, String> {
    let text = std::fs::read_to_string(path);
    text.map(|text| text.trim().to_owned())
        .map_err(|error| format!("`{}` can't be read: {error}", path.display()))
}
