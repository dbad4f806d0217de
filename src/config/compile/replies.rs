//! Which replies of a FHIR service are looked through before they go out, and for what.

use serde_saphyr::Spanned;

use crate::config::codes::Code;
use crate::config::diagnostic::Place;
use crate::config::report::Report;
use crate::config::schema::FhirService as Schema;
use crate::config::settings::{Endpoint, UpstreamSettings};
use crate::config::values;
use crate::policy::fhir::ReplyCheck;
use crate::request::fhir::Version;
use crate::request::fhir::elements::of_nobody;

/// Replies without a limit of their own: 4 MiB, some thousand resources.
const MOST_BYTES: usize = 4 * 1024 * 1024;
/// The limits that can be set: parsed, a reply takes about ten times its length.
const BYTES: std::ops::RangeInclusive<u64> = 1024..=64 * 1024 * 1024;

/// Compiles `check_replies` and what belongs to it; `None` where replies go out as they are.
pub(super) fn compile(
    report: &mut Report<'_>,
    item: &Spanned<Schema>,
    (version, upstream): (Version, Option<&UpstreamSettings>),
) -> Option<ReplyCheck> {
    let schema = &item.value;
    let asked = schema.check_replies.as_ref();
    let is_off = asked.is_some_and(|flag| !flag.value);
    if is_off {
        let keys: [(&str, Option<Place>); 3] = [
            ("check_replies", asked.filter(|flag| flag.value).map(Into::into)),
            ("max_reply_bytes", schema.max_reply_bytes.as_ref().map(Into::into)),
            ("shared_types", schema.shared_types.as_ref().map(Into::into)),
        ];
        for (key, place) in keys {
            if let Some(place) = place {
                let message = format!("`{key}` has no meaning beside `check_replies: false`");
                report.add(Code::NoReplyCheck, place, message, format!("take `{key}` out"));
            }
        }
    }
    if let Some(flag) = asked.filter(|flag| !flag.value) {
        let message =
            "replies to patients go out unread: a server that ignores a parameter shows others' records";
        report.add(Code::RepliesNotChecked, flag, message, "take `check_replies: false` out");
    }
    if is_off {
        return None;
    }
    values::texts(report, &schema.shared_types);
    let mut shared = Vec::new();
    for text in schema.shared_types.items() {
        match of_nobody(version).find(|name| *name == text.value) {
            Some(name) => shared.push(name),
            None => {
                let message =
                    format!("`{}` is no type of which every resource is nobody's record", text.value);
                let help = format!("such types are {}", of_nobody(version).collect::<Vec<_>>().join(", "));
                report.add(Code::BadSharedType, text, message, help);
            }
        }
    }
    let endpoints = upstream.map(|upstream| upstream.endpoints.as_slice()).unwrap_or_default();
    Some(ReplyCheck {
        most_bytes: values::size(report, &schema.max_reply_bytes, MOST_BYTES, BYTES),
        shared,
        hosts: endpoints.iter().flat_map(authorities).collect(),
    })
}

/// How a server may write its own authority.
fn authorities(endpoint: &Endpoint) -> Vec<Box<str>> {
    let Endpoint::Network(place) = endpoint else { return Vec::new() };
    let place = place.to_ascii_lowercase();
    let short = [":80", ":443"].iter().find_map(|port| place.strip_suffix(port).map(Into::into));
    short.into_iter().chain([place.clone().into()]).collect()
}
