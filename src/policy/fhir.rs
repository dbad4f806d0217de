//! FHIR services, and the routes below their bases: found by interaction, type and operation instead of by path.

use foldhash::HashMap;
use http::Method;
use smallvec::SmallVec;

use super::Route;
use super::index::{Ambiguity, Ambiguous};
use crate::identity::smart::Dialect;
use crate::request::fhir::bundle::BundleKind;
use crate::request::fhir::{Asked, FhirRequest, Interaction, Version, read};
use crate::request::framing::BodyLength;
use crate::request::{Facts, PathReading};

/// A FHIR server behind the gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FhirService {
    /// Its name.
    pub name: Box<str>,
    /// The exact host, or any.
    pub host: Option<Box<str>>,
    /// The path of its base, without a slash at the end: empty at the root.
    pub base: Box<str>,
    /// The version of FHIR that it speaks.
    pub version: Version,
    /// Its upstream's position.
    pub upstream: usize,
    /// Which forms of SMART scopes its tokens have.
    pub smart: Dialect,
    /// The parameters that requests may have.
    pub allowed_parameters: Vec<Box<str>>,
    /// Whether replies to callers who are confined to one patient are looked through; `None` takes the server at its word.
    pub replies: Option<ReplyCheck>,
    /// Which requests may come several in one; none where it is not said.
    pub bundles: Option<Bundles>,
}

/// How replies are looked through before they go out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplyCheck {
    /// The longest reply, in bytes.
    pub most_bytes: usize,
    /// The types that everybody may see.
    pub shared: Vec<&'static str>,
    /// The authorities of its servers, which may stand in what they write.
    pub hosts: Vec<Box<str>>,
}

/// Which batches and transactions a service takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bundles {
    /// These.
    pub kinds: Vec<BundleKind>,
    /// With so many entries.
    pub most_entries: usize,
}

impl FhirService {
    /// What follows the base in a path: empty, or with a slash before it; `None` elsewhere.
    fn below<'p>(&self, base: &str, path: &'p str) -> Option<&'p str> {
        path.strip_prefix(base).filter(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    fn is_at(&self, host: &str) -> bool {
        self.host.as_deref().is_none_or(|own| own == host)
    }

    /// The interaction that a request below the base asks for. `method` is the one of a preflight's later request.
    fn read<'f>(&self, below: &'f str, method: &'f Method, facts: &'f Facts) -> Option<FhirRequest<'f>> {
        // The header would make a resource that no route has taken.
        if facts.has_provenance {
            return None;
        }
        read(&Asked {
            method,
            below,
            has_query: !facts.target.query().is_empty(),
            has_body: facts.body.length != BodyLength::None,
            if_none_exist: facts.if_none_exist.is_some(),
            version: self.version,
        })
    }

    /// Asks of a request that one of the service's routes matched what it was matched by.
    ///
    /// `path` is the one that the strict reading gives.
    pub fn request<'f>(&self, path: &'f str, facts: &'f Facts) -> Option<FhirRequest<'f>> {
        self.read(self.below(&self.base, path)?, &facts.method, facts)
    }
}

/// Which requests of a service a route takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FhirMatch {
    /// The service's position.
    pub service: usize,
    /// These interactions.
    pub interactions: Vec<Interaction>,
    /// With these types; any, and the system, where there is none.
    pub types: Vec<&'static str>,
    /// These operations, with their `$`.
    pub operations: Vec<Box<str>>,
}

impl FhirMatch {
    /// Whether it takes batches and transactions: each of their entries is judged by its own route.
    pub fn is_bundle(&self) -> bool {
        self.interactions == [Interaction::Bundle]
    }
}

/// What a route is found by: the interaction, its type, the operation's name.
type Key = (usize, Interaction, Option<&'static str>, Option<Box<str>>);

/// What was found below a base.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// This route, by position.
    Route(usize),
    /// No route takes the interaction.
    NoRoute,
    /// FHIR has no such interaction.
    NotUnderstood,
}

/// The routes below bases.
#[derive(Debug, Default)]
pub struct FhirIndex {
    services: Vec<FhirService>,
    routes: HashMap<Key, usize>,
    /// The readings of all upstreams beside the strict one.
    readings: SmallVec<[PathReading; 2]>,
}

impl FhirIndex {
    /// Builds the index; two routes of which neither is more specific are added to `ambiguous`.
    pub fn build(services: &[FhirService], routes: &[Route], ambiguous: &mut Vec<Ambiguous>) -> Self {
        let mut index = Self { services: services.to_vec(), ..Self::default() };
        for (position, route) in routes.iter().enumerate() {
            if route.reading != PathReading::STRICT && !index.readings.contains(&route.reading) {
                index.readings.push(route.reading);
            }
            for key in route.fhir.iter().flat_map(keys) {
                if let Some(first) = index.routes.insert(key, position)
                    && first != position
                {
                    ambiguous.push(Ambiguous { first, second: position, why: Ambiguity::BothWin });
                }
            }
        }
        index
    }

    /// A service by its position.
    pub fn service(&self, position: usize) -> Option<&FhirService> {
        self.services.get(position)
    }

    /// Every service.
    pub fn services(&self) -> &[FhirService] {
        &self.services
    }

    /// Whether a request is for a FHIR server, so that its refusal is an `OperationOutcome`.
    pub fn is_below_base(&self, facts: &Facts) -> bool {
        let host = facts.host.as_str();
        !self.services.is_empty()
            && facts.target.path_as(PathReading::STRICT).is_ok_and(|path| {
                self.services
                    .iter()
                    .any(|service| service.is_at(host) && service.below(&service.base, &path).is_some())
            })
    }

    /// Finds the route of a request; `None` where it is below no base, so that the other routes count.
    ///
    /// A path that some upstream reads as one below a base, and the others do not, is nobody's.
    pub fn find(&self, facts: &Facts) -> Option<Found> {
        if self.services.is_empty() {
            return None;
        }
        let method = facts.preflight.as_ref().map_or(&facts.method, |preflight| &preflight.method);
        let host = facts.host.as_str();
        if let Ok(path) = facts.target.path_as(PathReading::STRICT) {
            for (position, service) in self.services.iter().enumerate().filter(|(_, it)| it.is_at(host)) {
                let Some(below) = service.below(&service.base, &path) else { continue };
                return Some(match service.read(below, method, facts) {
                    Some(request) if !facts.websocket => self.route(position, &request),
                    _ => Found::NotUnderstood,
                });
            }
        }
        self.is_read_as_below(facts).then_some(Found::NotUnderstood)
    }

    /// The most specific route: one that names the type before one for any.
    fn route(&self, service: usize, request: &FhirRequest<'_>) -> Found {
        let operation: Option<Box<str>> = request.operation.map(Into::into);
        let of = |resource_type: Option<&'static str>| {
            self.routes.get(&(service, request.interaction, resource_type, operation.clone())).copied()
        };
        let by_type = request.resource_type.and_then(|name| of(Some(name)));
        by_type.or_else(|| of(None)).map_or(Found::NoRoute, Found::Route)
    }

    fn is_read_as_below(&self, facts: &Facts) -> bool {
        let host = facts.host.as_str();
        self.readings.iter().any(|reading| {
            let Ok(path) = facts.target.path_as(*reading) else { return false };
            let path = reading.fold(path);
            self.services.iter().filter(|service| service.is_at(host)).any(|service| {
                let base = reading.fold(service.base.as_ref().into());
                service.below(&base, &path).is_some()
            })
        })
    }
}

fn keys(matched: &FhirMatch) -> Vec<Key> {
    let types: Vec<Option<&'static str>> = if matched.types.is_empty() {
        vec![None]
    } else {
        matched.types.iter().map(|name| Some(*name)).collect()
    };
    let operations = matched.operations.iter().map(|name| (Interaction::Operation, Some(name.clone())));
    let interactions = matched.interactions.iter().map(|interaction| (*interaction, None));
    let both: Vec<_> = interactions.chain(operations).collect();
    let with_type = |(interaction, operation): &(Interaction, Option<Box<str>>)| {
        types.iter().map(|name| (matched.service, *interaction, *name, operation.clone())).collect::<Vec<_>>()
    };
    both.iter().flat_map(with_type).collect()
}
