//! `candidate` on routes: the same route with a tier that is tried out.

use super::routes::{Draft, Known};
use crate::config::codes::Code;
use crate::config::report::Report;
use crate::policy::Access;

/// Compiles them, once everything else of the routes is known.
pub(super) fn compile(drafts: &mut [Draft<'_>], known: &Known<'_>, report: &mut Report<'_>) {
    for draft in drafts {
        let Some(spanned) = draft.schema.candidate.as_ref() else { continue };
        let report = &mut report.within("route", Some(draft.route.id.as_ref()));
        let Some(text) = report.required(&spanned.value.tier, "tier", spanned.into(), "high") else {
            continue;
        };
        let Some(tier) = known.tiers.find(report, text) else { continue };
        if Some(tier) == draft.tier {
            let help = "name the tier that is to be tried out, or take `candidate` out";
            report.add(
                Code::CandidateIsSame,
                text,
                format!("`{}` is the route's own tier", text.value),
                help,
            );
        }
        if draft.route.access == Access::Protected {
            let mut candidate = draft.route.clone();
            candidate.tier = tier;
            draft.route.candidate = Some(Box::new(candidate));
        }
    }
}
