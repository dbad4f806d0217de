//! Conditions in CEL, compiled when the configuration is loaded (Common Expression Language).
//!
//! No comprehensions, so evaluation takes time proportional to the expression; its inputs are bounded by the limits
//! on tokens and bodies.

use std::cell::OnceCell;
use std::fmt;
use std::sync::{Arc, LazyLock};

use cel::common::ast::{EntryExpr, Expr};
use cel::{Context, Env, IdedExpr, Program, Value};

/// The longest expression: 1,000 characters.
const MAX_LENGTH: usize = 1000;

/// What an expression may speak of.
const VARIABLES: &[&str] = &["subject", "request", "body", "changes", "client_certificate", "device"];

static STANDARD: LazyLock<Arc<Env>> = LazyLock::new(|| Arc::new(Env::stdlib()));

/// A compiled condition.
#[derive(Clone)]
pub struct Condition {
    source: Box<str>,
    program: Arc<Program>,
    reads_subject: bool,
    reads_request: bool,
    reads_body: bool,
    reads_changes: bool,
    reads_query: bool,
    reads_certificate: bool,
    reads_device: bool,
}

/// The values that the conditions of one request are evaluated over.
#[derive(Debug)]
pub struct Inputs {
    subject: Input,
    request: Input,
    body: Input,
    client_certificate: Input,
    device: Input,
    changes: Input,
    changes_are_unknown: bool,
    device_is_unknown: bool,
    query_is_ambiguous: bool,
    body_is_unreadable: bool,
}

/// A value that is converted when the first condition speaks of it: converting costs more than evaluating.
#[derive(Debug)]
struct Input {
    plain: serde_json::Value,
    value: OnceCell<Result<Value, String>>,
}

impl Input {
    fn new(plain: serde_json::Value) -> Self {
        Self { plain, value: OnceCell::new() }
    }

    fn value(&self) -> Result<Value, String> {
        self.value.get_or_init(|| cel::to_value(&self.plain).map_err(|error| error.to_string())).clone()
    }
}

impl Inputs {
    /// Takes `subject` (id, issuer, caller, client, roles, scopes, patient, level, methods, claims), `request` (method,
    /// host, path, parameters, query) and `body`, which is `None` where it can't be read: then what speaks of it fails,
    /// and what does not is not touched by it. Where a query parameter occurs more than once, the query has no one
    /// value for it.
    pub fn new(
        subject: serde_json::Value,
        request: serde_json::Value,
        body: Option<serde_json::Value>,
        query_is_ambiguous: bool,
    ) -> Self {
        Self {
            subject: Input::new(subject),
            request: Input::new(request),
            body_is_unreadable: body.is_none(),
            body: Input::new(body.unwrap_or_default()),
            client_certificate: Input::new(serde_json::Value::Object(serde_json::Map::new())),
            device: Input::new(serde_json::json!({ "recognised": false })),
            changes: Input::new(serde_json::Value::Array(Vec::new())),
            changes_are_unknown: true,
            device_is_unknown: false,
            query_is_ambiguous,
        }
    }

    /// Adds the client's certificate (thumbprint, subject, dns, uris), where one was shown.
    pub fn with_certificate(mut self, certificate: Option<serde_json::Value>) -> Self {
        if let Some(certificate) = certificate {
            self.client_certificate = Input::new(certificate);
        }
        self
    }
}

impl Inputs {
    /// Adds whether the browser is one that was recognised before; `None` where that can't be told, which fails what asks.
    pub fn with_device(mut self, recognised: Option<bool>) -> Self {
        self.device = Input::new(serde_json::json!({ "recognised": recognised.unwrap_or(false) }));
        self.device_is_unknown = recognised.is_none();
        self
    }
}

impl Inputs {
    /// Adds the names of the fields that the request changes; without them, what speaks of them fails.
    pub fn with_changes(mut self, names: Option<Vec<String>>) -> Self {
        self.changes_are_unknown = names.is_none();
        self.changes = Input::new(names.unwrap_or_default().into());
        self
    }
}

impl Condition {
    /// Compiles an expression.
    ///
    /// # Errors
    /// What is wrong with it, in words for the author of the configuration.
    pub fn compile(source: &str) -> Result<Self, String> {
        if source.len() > MAX_LENGTH {
            return Err(format!("the expression is longer than {MAX_LENGTH} characters"));
        }
        let program = Program::compile(source).map_err(|errors| {
            errors
                .errors
                .first()
                .map_or_else(|| "it is not a CEL expression".to_owned(), |error| error.msg.clone())
        })?;
        if has_comprehension(program.expression()) {
            return Err(
                "`all`, `exists`, `map` and `filter` are not available; use `in` to look into a list"
                    .to_owned(),
            );
        }
        let references = program.references();
        if let Some(unknown) = references.variables().iter().find(|name| !VARIABLES.contains(name)) {
            return Err(format!(
                "unknown name `{unknown}`; an expression may speak of `subject`, `request`, `body`, `changes`, `client_certificate` and `device`"
            ));
        }
        let reads_subject = references.has_variable("subject");
        let reads_request = references.has_variable("request");
        let reads_body = references.has_variable("body");
        let reads_changes = references.has_variable("changes");
        // The field can be reached in several spellings; a false alarm only makes a condition stricter.
        let reads_query = source.contains("query");
        let reads_certificate = references.has_variable("client_certificate");
        let reads_device = references.has_variable("device");
        Ok(Self {
            source: source.into(),
            program: Arc::new(program),
            reads_subject,
            reads_request,
            reads_body,
            reads_changes,
            reads_query,
            reads_certificate,
            reads_device,
        })
    }

    /// One whose answer is known: whether it holds, or nothing where it can't be evaluated. It reads nothing.
    ///
    /// # Errors
    /// As [`Condition::compile`].
    pub fn known(source: &str, holds: Option<bool>) -> Result<Self, String> {
        let constant = match holds {
            Some(true) => "true",
            Some(false) => "false",
            None => "1 / 0 == 1",
        };
        Ok(Self { source: source.into(), ..Self::compile(constant)? })
    }

    /// The expression as written.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Whether it needs the body.
    pub fn reads_body(&self) -> bool {
        self.reads_body || self.reads_changes
    }

    /// Whether it speaks of the client's certificate.
    pub fn reads_certificate(&self) -> bool {
        self.reads_certificate
    }

    /// Whether it asks about the browser.
    pub fn reads_device(&self) -> bool {
        self.reads_device
    }

    /// Evaluates the condition.
    ///
    /// # Errors
    /// The evaluation failed or gave something other than true or false; the text is for operators only and names
    /// no value of the request.
    pub fn holds(&self, inputs: &Inputs) -> Result<bool, String> {
        if self.reads_query && inputs.query_is_ambiguous {
            return Err("a query parameter occurs more than once".to_owned());
        }
        if self.reads_body && inputs.body_is_unreadable {
            return Err("the body can't be read".to_owned());
        }
        if self.reads_changes && inputs.changes_are_unknown {
            return Err("what the request changes can't be told".to_owned());
        }
        if self.reads_device && inputs.device_is_unknown {
            return Err("whether the browser is known can't be told".to_owned());
        }
        let mut context = Context::with_env(Arc::clone(&STANDARD));
        for (name, is_read, input) in [
            ("subject", self.reads_subject, &inputs.subject),
            ("request", self.reads_request, &inputs.request),
            ("body", self.reads_body, &inputs.body),
            ("changes", self.reads_changes, &inputs.changes),
            ("client_certificate", self.reads_certificate, &inputs.client_certificate),
            ("device", self.reads_device, &inputs.device),
        ] {
            if is_read {
                context.add_variable_from_value(name, input.value()?);
            }
        }
        match self.program.execute(&context) {
            Ok(Value::Bool(holds)) => Ok(holds),
            Ok(_) => Err("the expression did not give true or false".to_owned()),
            Err(cel::ExecutionError::NoSuchKey(key)) => {
                Err(format!("there is no `{key}` here; test it with has() first"))
            }
            Err(cel::ExecutionError::UndeclaredReference(name)) => Err(format!("`{name}` does not exist")),
            Err(_) => {
                Err("the expression can't be evaluated on these values (a type does not fit)".to_owned())
            }
        }
    }
}

/// Of two that are written alike the same comes.
impl PartialEq for Condition {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

impl fmt::Debug for Condition {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Condition({:?})", self.source)
    }
}

fn has_comprehension(node: &IdedExpr) -> bool {
    let entry = |entry: &EntryExpr| match entry {
        EntryExpr::StructField(field) => has_comprehension(&field.value),
        EntryExpr::MapEntry(pair) => has_comprehension(&pair.key) || has_comprehension(&pair.value),
    };
    match &node.expr {
        Expr::Comprehension(_) => true,
        Expr::Call(call) => {
            call.target.as_deref().is_some_and(has_comprehension) || call.args.iter().any(has_comprehension)
        }
        Expr::List(list) => list.elements.iter().any(has_comprehension),
        Expr::Map(map) => map.entries.iter().any(|item| entry(&item.expr)),
        Expr::Struct(structure) => structure.entries.iter().any(|item| entry(&item.expr)),
        Expr::Select(select) => has_comprehension(&select.operand),
        Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn holds(source: &str) -> Result<bool, String> {
        let subject = json!({"roles": ["prescriber"], "claims": {"npi": "123", "n": 3}});
        let inputs = Inputs::new(subject, json!({"query": {"a": "1"}}), Some(json!({"amount": 150})), false);
        Condition::compile(source)?.holds(&inputs)
    }

    #[test]
    fn evaluates() {
        assert_eq!(holds("subject.claims.npi != ''"), Ok(true));
        assert_eq!(holds("'prescriber' in subject.roles && body.amount > 100"), Ok(true));
        assert_eq!(holds("has(subject.claims.missing)"), Ok(false));
        assert!(Condition::compile("body.x == 1").expect("compiles").reads_body());
    }

    #[test]
    fn errors_are_errors_never_false() {
        for source in [
            "subject.claims.missing == 'x'",
            "subject.claims.n + 'x' == 'y'",
            "1 + 1",
            "1 / 0 == 1",
            "subject.claims.npi",
        ] {
            assert!(holds(source).is_err(), "{source}");
        }
    }

    #[test]
    fn a_repeated_parameter_fails_what_reads_the_query() {
        let inputs = Inputs::new(json!({"id": "a"}), json!({"query": {}}), Some(json!(null)), true);
        assert!(Condition::compile("has(request.query.x)").expect("compiles").holds(&inputs).is_err());
        assert!(Condition::compile("request['query'].x == ''").expect("compiles").holds(&inputs).is_err());
        assert_eq!(Condition::compile("subject.id == 'a'").expect("compiles").holds(&inputs), Ok(true));
    }

    #[test]
    fn an_unreadable_body_fails_what_reads_it_and_nothing_else() {
        let inputs = Inputs::new(json!({"id": "a"}), json!({}), None, false);
        for source in ["body == null", "has(body.x)", "subject.id == 'a' || body.x == 1"] {
            assert!(Condition::compile(source).expect("compiles").holds(&inputs).is_err(), "{source}");
        }
        assert_eq!(Condition::compile("subject.id == 'a'").expect("compiles").holds(&inputs), Ok(true));
    }

    #[test]
    fn a_certificate_that_was_not_shown_has_no_names() {
        let inputs = || Inputs::new(json!({}), json!({}), Some(json!(null)), false);
        let condition = Condition::compile("'lab.example' in client_certificate.dns").expect("compiles");
        assert!(condition.reads_certificate());
        assert!(condition.holds(&inputs()).is_err());
        let has = Condition::compile("has(client_certificate.subject)").expect("compiles");
        assert_eq!(has.holds(&inputs()), Ok(false));
        let shown = inputs().with_certificate(Some(json!({"subject": "CN=lab", "dns": ["lab.example"]})));
        assert_eq!((condition.holds(&shown), has.holds(&shown)), (Ok(true), Ok(true)));
    }

    #[test]
    fn a_browser_that_nobody_can_tell_fails_whatever_asks() {
        let inputs = || Inputs::new(json!({"id": "a"}), json!({}), Some(json!(null)), false);
        for (source, known, unknown) in
            [("device.recognised", true, false), ("!device.recognised", false, true)]
        {
            let condition = Condition::compile(source).expect("compiles");
            assert!(condition.reads_device());
            assert_eq!(condition.holds(&inputs()), Ok(unknown), "{source}");
            assert_eq!(condition.holds(&inputs().with_device(Some(true))), Ok(known), "{source}");
            assert_eq!(condition.holds(&inputs().with_device(Some(false))), Ok(unknown), "{source}");
            assert!(condition.holds(&inputs().with_device(None)).is_err(), "{source}");
        }
        let other = Condition::compile("subject.id == 'a'").expect("compiles");
        assert_eq!((other.reads_device(), other.holds(&inputs().with_device(None))), (false, Ok(true)));
    }

    #[test]
    fn comprehensions_and_unknown_names_do_not_compile() {
        for source in [
            "subject.roles.all(r, r == 'x')",
            "[1].map(x, x)",
            "[subject.roles.exists(r, true)]",
            "user == 1",
            "a b",
            "",
            &"1+".repeat(600),
        ] {
            assert!(Condition::compile(source).is_err(), "{source}");
        }
    }
}
