//! Browsers that are recognised: after which proof, and for how long.

use crate::config::codes::Code;
use crate::config::report::Report;
use crate::config::schema::{File, SignIn};
use crate::config::settings::RecognisedDevice;
use crate::config::values::{self, seconds};
use crate::identity::assurance::Levels;
use crate::policy::Condition;

/// A quarter.
const LASTS: std::time::Duration = seconds(90 * 86_400);

/// Compiles `recognised_device` of a `sign_in`.
pub(super) fn compile(
    sign_in: &SignIn,
    shared: bool,
    levels: &Levels,
    report: &mut Report<'_>,
) -> Option<RecognisedDevice> {
    let given = sign_in.recognised_device.as_ref()?;
    let second = levels.names().nth(1);
    if shared {
        let message = "at a shared workstation the next person sits at the same browser";
        let help = "take `recognised_device` out, or `shared_workstation`";
        report.add(Code::RecognisedDevice, given, message, help);
    }
    let lasts = values::duration(report, &given.value.r#for, LASTS, seconds(1)..=seconds(365 * 86_400));
    let text = report.required(&given.value.after, "after", given.into(), second.unwrap_or("aal2"))?;
    let after = super::assurance::level(report, levels, text)?;
    let is_strong = second.and_then(|second| levels.find(second)).is_some_and(|second| after >= second);
    if !is_strong {
        let message = format!("who gets in with `{}` alone would have their browser recognised", text.value);
        let help = match second {
            Some(second) => format!("write `after: {second}`, or a higher level"),
            None => "add a second level to `assurance_levels`, or take `recognised_device` out".to_owned(),
        };
        report.add(Code::RecognisedDevice, text, message, help);
    }
    Some(RecognisedDevice { after, lasts })
}

/// Warns of conditions about recognised browsers where none ever is.
pub(super) fn check_conditions(file: &File, report: &mut Report<'_>) {
    let recognises = |item: &crate::config::schema::Issuer| {
        item.sign_in.as_ref().is_some_and(|sign_in| sign_in.value.recognised_device.is_some())
    };
    if file.issuers.items().iter().any(|item| recognises(&item.value)) {
        return;
    }
    let told = (
        "no browser is ever recognised",
        "add `recognised_device: { after: aal2 }` to an issuer's `sign_in`, or take this out",
    );
    super::conditions::check(file, report, Condition::reads_device, Code::NoDeviceRecognised, told);
}
