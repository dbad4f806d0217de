//! What in a request changes its risk or refuses it: `patient`, `refine`, `lower_risk_if_only`, `deny`.

use serde_saphyr::Spanned;

use super::matching::Matched;
use super::tiers::Tiers;
use crate::config::codes::Code;
use crate::config::diagnostic::Place;
use crate::config::report::{Report, instead};
use crate::config::schema::{
    Given, Items, LowerRisk as LowerSchema, Patient, Refine as RefineSchema, Text, When,
};
use crate::config::values;
use crate::policy::route::{LowerRisk, PatientSource, Refine};
use crate::policy::{Condition, Template, TierIndex};

/// What the rules of one route are checked against.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ground<'r> {
    /// The route's `match`; `None` where that was reported, so that nothing is concluded from it.
    pub(super) matched: Option<&'r Matched>,
    pub(super) tiers: &'r Tiers,
    /// The base tier; `None` where it was reported as unknown.
    pub(super) tier: Option<TierIndex>,
}

impl Ground<'_> {
    /// Compiles a condition.
    pub(super) fn condition(&self, report: &mut Report<'_>, text: &Text) -> Option<Condition> {
        match Condition::compile(&text.value) {
            Ok(condition) => {
                if condition.reads_body() {
                    self.need_body(report, text);
                }
                Some(condition)
            }
            Err(error) => {
                let help = "write CEL over `subject`, `request`, `body` and `client_certificate`, such as `subject.claims.npi != ''`";
                report.add(
                    Code::BadCondition,
                    text,
                    format!("the condition does not compile: {error}"),
                    help,
                );
                None
            }
        }
    }

    fn need_body(&self, report: &mut Report<'_>, place: impl Into<Place>) {
        if self.matched.is_some_and(|matched| !matched.has_body()) {
            let message = "no request of this route has a body";
            report.add(
                Code::BodyNeverPresent,
                place,
                message,
                "add `POST`, `PUT` or `PATCH` to `methods`, or take this out",
            );
        }
    }

    /// Compiles `patient`.
    pub(super) fn patient(
        &self,
        report: &mut Report<'_>,
        schema: &Spanned<Patient>,
    ) -> Option<PatientSource> {
        let text = report.required(&schema.value.from, "from", schema.into(), "path.patient")?;
        if text.value == "lookup" {
            // Its position is known once all routes are.
            return Some(PatientSource::Lookup(usize::MAX));
        }
        let (source, name) = text.value.split_once('.').unwrap_or((text.value.as_str(), ""));
        if name.is_empty() || !matches!(source, "path" | "query" | "body") {
            let message = format!("`{}` is not a place to find the patient", text.value);
            report.add(
                Code::BadPatientSource,
                text,
                message,
                "write `path.`, `query.` or `body.` and a name, such as `path.patient`, or `lookup`",
            );
            return None;
        }
        match source {
            "path" => {
                if let Some(template) = self.matched.map(|matched| &matched.template) {
                    check_parameter(report, text, name, template);
                }
                Some(PatientSource::Path(name.into()))
            }
            "query" => Some(PatientSource::Query(name.into())),
            _ => {
                self.need_body(report, text);
                Some(PatientSource::Body(name.into()))
            }
        }
    }

    /// Compiles `refine`.
    pub(super) fn refine(&self, report: &mut Report<'_>, schema: &Given<Items<RefineSchema>>) -> Vec<Refine> {
        let mut rules = Vec::new();
        for item in schema.items() {
            let when = report.required(&item.value.when, "when", item.into(), "\"body.amount > 100\"");
            let when = when.and_then(|text| self.condition(report, text));
            let text = report.required(&item.value.tier, "tier", item.into(), "high");
            let tier = text.and_then(|text| self.tiers.find(report, text));
            if let (Some(text), Some(tier), Some(base)) = (text, tier, self.tier)
                && tier <= base
            {
                let message =
                    format!("`{}` is not above the route's tier, so this rule changes nothing", text.value);
                report.add(
                    Code::RefineWithoutEffect,
                    text,
                    message,
                    "name a higher tier, or take the rule out",
                );
            }
            if let (Some(when), Some(tier)) = (when, tier) {
                rules.push(Refine { when, tier });
            }
        }
        rules
    }

    /// Compiles `lower_risk_if_only`.
    pub(super) fn lower_risk(
        &self,
        report: &mut Report<'_>,
        schema: &Spanned<LowerSchema>,
    ) -> Option<LowerRisk> {
        let LowerSchema { fields, tier, id } = &schema.value;
        let place = Place::from(schema);
        self.need_body(report, place);
        let listed = report.required(fields, "fields", place, "[language]");
        let id = report.required(id, "id", place, "profile.preferences");
        let text = report.required(tier, "tier", place, "moderate");
        let tier = text.and_then(|text| self.tiers.find(report, text));
        if let (Some(text), Some(tier), Some(base)) = (text, tier, self.tier)
            && tier >= base
        {
            let message = format!("`{}` is not below the route's tier", text.value);
            report.add(Code::LowerRiskNotLower, text, message, "name a lower tier");
        }
        listed?;
        Some(LowerRisk { fields: values::texts(report, fields), tier: tier?, id: id?.value.as_str().into() })
    }

    /// Compiles `deny`.
    pub(super) fn deny(&self, report: &mut Report<'_>, schema: &Given<Items<When>>) -> Vec<Condition> {
        let mut conditions = Vec::new();
        for item in schema.items() {
            let when =
                report.required(&item.value.when, "when", item.into(), "\"'suspended' in subject.roles\"");
            conditions.extend(when.and_then(|text| self.condition(report, text)));
        }
        conditions
    }
}

fn check_parameter(report: &mut Report<'_>, text: &Text, name: &str, template: &Template) {
    if !template.parameters().any(|known| known == name) {
        let message = format!("the path has no parameter `{name}`");
        let nearest = instead(name, template.parameters());
        let help = if template.parameters().next().is_some() {
            nearest
        } else {
            format!("write `{{{name}}}` into the path")
        };
        report.add(Code::BadPatientSource, text, message, help);
    }
}
