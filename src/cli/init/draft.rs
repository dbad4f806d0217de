//! A draft, and how it is written: as YAML with a remark for each choice.

use std::collections::BTreeSet;
use std::fmt::Write as _;

/// Who is allowed, in one entry of `any_of`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Allowed {
    /// The caller's own record only; otherwise a role that the operator has to name.
    pub(super) own: bool,
    /// What the document asks for besides.
    pub(super) scopes: Vec<String>,
}

/// One route.
#[derive(Debug)]
pub(super) struct RouteDraft {
    /// Its id.
    pub(super) id: String,
    /// What people call it, where the document says so.
    pub(super) label: Option<String>,
    /// Why it is as it is, a line each.
    pub(super) reasons: Vec<String>,
    /// What it matches, as YAML.
    pub(super) matches: String,
    /// Whether it is a FHIR service's, which knows the upstream and the patient by itself.
    pub(super) fhir: bool,
    /// The tier; `None` for a public route.
    pub(super) tier: Option<&'static str>,
    /// Whether it tells of somebody's health.
    pub(super) phi: bool,
    /// Where the patient is named: `path.patient`.
    pub(super) patient: Option<String>,
    /// The ways to be allowed.
    pub(super) any_of: Vec<Allowed>,
}

/// A FHIR service.
#[derive(Debug)]
pub(super) struct FhirService {
    /// The path of its base.
    pub(super) base: String,
    /// `R4` or `R5`.
    pub(super) version: &'static str,
}

/// A whole configuration.
#[derive(Debug)]
pub(super) struct Draft {
    /// What it was made from.
    pub(super) source: String,
    /// The issuer's address, where the document names one.
    pub(super) issuer: Option<String>,
    /// Where clients reach the application today.
    pub(super) address: Option<String>,
    /// The FHIR service, where it is one.
    pub(super) fhir: Option<FhirService>,
    /// The routes.
    pub(super) routes: Vec<RouteDraft>,
    /// What has no route, and why.
    pub(super) left_out: Vec<String>,
    /// A request that nobody may make without a token.
    pub(super) refused: Option<String>,
}

impl Draft {
    /// The text of the draft.
    pub(super) fn render(&self) -> String {
        let mut text = String::new();
        let _ = writeln!(
            text,
            "# A draft, made from {}. It is on the careful side: lower a tier only where you know better.\n\
             # `FILL IN` marks what no document says. Until then it loads, and lets nobody in.",
            plain(&self.source)
        );
        text.push_str("version: 1\nlisteners: [{ name: edge, address: \"127.0.0.1:8080\" }]   # FILL IN: where clients reach the gateway; see docs/tls.md\n");
        if let Some(address) = &self.address {
            let _ = writeln!(
                text,
                "# Clients use {} today: that name must lead to the gateway, and to nothing else.",
                plain(address)
            );
        }
        if self.routes.iter().any(|route| route.tier == Some("critical")) {
            text.push_str("state: { single_replica: true }   # FILL IN: several gateways share Redis instead, or a spent proof counts twice; see docs/state.md\n");
        }
        self.issuer(&mut text);
        text.push_str(
            "upstreams:\n  app: { endpoints: [\"app.invalid:8080\"] }   # FILL IN: where the application listens, reachable by the gateway only\n",
        );
        if let Some(service) = &self.fhir {
            let _ = writeln!(
                text,
                "fhir_services:\n  # Only the parameters that are allowed without a word may be searched by; see docs/fhir.md before adding any.\n  - {{ name: fhir, base: {}, version: {}, upstream: app }}",
                quoted(&service.base),
                service.version
            );
        }
        if self.routes.iter().any(|route| route.phi) {
            text.push_str("data_classes:\n  phi: { assurance: aal1 }   # FILL IN: the level that your policy asks for before health data is shown\n");
        }
        text.push_str("# Everything without a route is refused.\nroutes:\n");
        for route in &self.routes {
            route.render(&mut text);
        }
        if !self.left_out.is_empty() {
            text.push_str("# Left out, and so refused:\n");
            for line in self.left_out.iter().collect::<BTreeSet<_>>() {
                let _ = writeln!(text, "#   {}", plain(line));
            }
        }
        if let Some(request) = &self.refused {
            let _ = writeln!(
                text,
                "cases:   # FILL IN: what must stay true; see docs/tune-risk.md\n  - {{ name: nobody gets in without signing in, as: nobody, request: {}, expect: deny, reason: credentials_missing }}",
                quoted(request)
            );
        }
        text.push_str("audit: { dir: ./audit }   # FILL IN: a directory that survives; see docs/audit.md\n");
        text
    }

    fn issuer(&self, text: &mut String) {
        text.push_str("issuers:\n  - name: people\n");
        match &self.issuer {
            Some(issuer) => {
                let _ = writeln!(text, "    issuer: {}   # the document names it", quoted(issuer));
            }
            None => text.push_str(
                "    issuer: https://issuer.invalid   # FILL IN: exactly the `iss` of its tokens\n",
            ),
        }
        text.push_str(
            "    audiences: [fill-in-audience]   # FILL IN: the `aud` of tokens for this application\n    assurance:   # FILL IN: what its `acr` or `amr` say; what is not listed counts as nothing\n      aal1: { any_of: { acr: [fill-in-one-factor] } }\n      aal2: { any_of: { acr: [fill-in-two-factors] } }\n",
        );
        let owns = self.routes.iter().any(|route| route.any_of.iter().any(|allowed| allowed.own));
        let roles = self.routes.iter().any(|route| route.any_of.iter().any(|allowed| !allowed.own));
        let claims = match (owns, roles) {
            (true, true) => "patient: patient_id, roles: groups",
            (true, false) => "patient: patient_id",
            (false, true) => "roles: groups",
            (false, false) => return,
        };
        let _ =
            writeln!(text, "    claims: {{ {claims} }}   # FILL IN: the claims that hold them in its tokens");
    }
}

impl RouteDraft {
    fn render(&self, text: &mut String) {
        for reason in &self.reasons {
            let _ = writeln!(text, "  # {}", plain(reason));
        }
        let _ = writeln!(text, "  - id: {}", quoted(&self.id));
        if let Some(label) = &self.label {
            let _ = writeln!(text, "    label: {}", quoted(&plain(label)));
        }
        let _ = writeln!(text, "    match: {}", self.matches);
        if !self.fhir {
            text.push_str("    upstream: app\n");
        }
        let Some(tier) = self.tier else {
            text.push_str("    access: public\n");
            return;
        };
        if self.phi {
            text.push_str("    data_class: phi\n");
        }
        if let Some(patient) = &self.patient {
            let _ = writeln!(text, "    patient: {{ from: {patient} }}");
        }
        let _ = writeln!(text, "    tier: {tier}\n    any_of:");
        for Allowed { own, scopes } in &self.any_of {
            let who = if *own { "patient: self" } else { "roles: [fill-in-role]" };
            let scopes = match scopes.as_slice() {
                [] => String::new(),
                scopes => {
                    let scopes: Vec<String> = scopes.iter().map(|scope| quoted(scope)).collect();
                    format!(", scopes: [{}]", scopes.join(", "))
                }
            };
            let remark = if *own { "" } else { "   # FILL IN: whose work this is; nobody has this role yet" };
            let _ = writeln!(text, "      - {{ issuer: people, {who}{scopes} }}{remark}");
        }
    }
}

/// A text as one line of a remark or a label, without what could end the line or move a terminal's cursor.
pub(super) fn plain(text: &str) -> String {
    let ends_line =
        |letter: char| letter.is_control() || matches!(letter, '\u{2028}' | '\u{2029}' | '\u{feff}');
    let line: String = text.chars().map(|letter| if ends_line(letter) { ' ' } else { letter }).collect();
    let line = line.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= 300 { line } else { line.chars().take(299).chain(['…']).collect() }
}

/// A scalar between quotes: JSON's strings are YAML's.
pub(super) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// A name that ids may have: small letters, digits and `-`, at most 90 of them.
pub(super) fn id(text: &str) -> String {
    let words = super::risk::words_as_written(text);
    let id: String = words.join("-").chars().filter(char::is_ascii).take(90).collect();
    if id.is_empty() { "operation".to_owned() } else { id }
}

/// The id, with a number where it is taken.
pub(super) fn unused(taken: &mut BTreeSet<String>, wanted: &str) -> String {
    let numbered = (2_usize..).map(|number| format!("{wanted}-{number}"));
    let free = std::iter::once(wanted.to_owned()).chain(numbered).find(|id| !taken.contains(id));
    let id = free.unwrap_or_default();
    taken.insert(id.clone());
    id
}
