//! Policies with many routes, and targets spread over all of them.
//!
//! A configuration of a million bytes has room for some thousands of routes; so that more can be measured, these are put
//! together without one.

use http::Method;
use wardgate::policy::{Access, Index, Match, Route, Template};
use wardgate::request::Facts;
use wardgate::request::host::Host;
use wardgate::request::target::Target;

use super::{Sent, reading};

/// How many different requests come, in turn: the same for any number of routes, so that only the index differs. Busy
/// traffic asks for few things often.
pub const BUSY: usize = 1_000;
/// So many that with many routes hardly any is asked for twice: what is measured then is the memory.
pub const SPREAD: usize = 100_000;

/// An index, and requests for random routes of it.
pub struct Classification {
    index: Index,
    /// One request for each host; its target is set anew for each lookup.
    requests: Vec<Facts>,
    /// The targets, one after the other in memory, as requests come out of a buffer.
    text: String,
    lookups: Vec<Lookup>,
    next: usize,
}

struct Lookup {
    host: usize,
    start: usize,
    end: usize,
    route: usize,
}

impl Classification {
    /// Builds the index of `count` routes, and so many requests.
    pub fn new(count: usize, requests: usize) -> Self {
        let distinct = requests;
        let shapes = (0..count).map(|number| shape(number, 0));
        let routes: Vec<Route> = shapes.map(|shape| route(shape.host, &shape.template)).collect();
        let facts = Sent::new(Method::GET, "/", "none").read(&reading());
        let requests = HOSTS
            .iter()
            .map(|host| Facts { host: Host::parse(host.as_bytes()).expect("a host"), ..facts.clone() });
        let mut all = Self {
            index: Index::build(&routes).expect("unambiguous routes"),
            requests: requests.collect(),
            text: String::new(),
            lookups: Vec::with_capacity(distinct),
            next: 0,
        };
        let mut random = 88_172_645_463_325_252_u64;
        for _ in 0..distinct {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let (number, value) = ((random >> 32) as usize % count, random % 100_000);
            let shape = shape(number, value);
            let host =
                shape.host.map_or(0, |host| HOSTS.iter().position(|known| *known == host).expect("a host"));
            let start = all.text.len();
            all.text.push_str(&shape.target);
            all.lookups.push(Lookup { host, start, end: all.text.len(), route: number });
        }
        all
    }

    /// Reads the next target and finds its route.
    pub fn step(&mut self) -> Match {
        let lookup = &self.lookups[self.next];
        self.next = if self.next + 1 == self.lookups.len() { 0 } else { self.next + 1 };
        let facts = &mut self.requests[lookup.host];
        facts.target = Target::parse(&self.text.as_bytes()[lookup.start..lookup.end]).expect("a target");
        let found = self.index.find(facts);
        debug_assert_eq!(found, Match::Route(lookup.route));
        found
    }

    /// Checks that each lookup finds its own route.
    pub fn check(&mut self) {
        for at in 0..self.lookups.len() {
            let expected = Match::Route(self.lookups[at].route);
            assert_eq!(
                self.step(),
                expected,
                "{}",
                self.text.get(self.lookups[at].start..self.lookups[at].end).unwrap_or_default()
            );
        }
    }
}

struct Shape {
    host: Option<&'static str>,
    template: String,
    target: String,
}

const HOSTS: &[&str] = &[
    "portal.clinic.example",
    "lab.clinic.example",
    "pacs.clinic.example",
    "api.clinic.example",
    "billing.clinic.example",
];

/// Text only; a parameter in the middle, at the end, before the end; open; some for one host only. Numbers have a fixed
/// width, so that targets are as long for ten routes as for a hundred thousand.
fn shape(number: usize, value: u64) -> Shape {
    let service = number / 200;
    let start = format!("/s{service:03}");
    let (host, template, target) = match number % 5 {
        0 => (
            None,
            format!("{start}/records/r{number:06}"),
            format!("{start}/records/r{number:06}?v={value:05}"),
        ),
        1 => (
            None,
            format!("{start}/patients/{{patient}}/r{number:06}"),
            format!("{start}/patients/p-{value:05}/r{number:06}?_count=20"),
        ),
        2 => (
            None,
            format!("{start}/wards/w{number:06}/{{bed}}"),
            format!("{start}/wards/w{number:06}/bed-{value:05}"),
        ),
        3 => (
            None,
            format!("{start}/files/f{number:06}/**"),
            format!("{start}/files/f{number:06}/2024/scan%20{value:05}.dcm"),
        ),
        _ => {
            let host = HOSTS[1 + number % (HOSTS.len() - 1)];
            (
                Some(host),
                format!("/v1/n{number:06}/{{id}}/notes"),
                format!("/v1/n{number:06}/{value:05}/notes?sort=date"),
            )
        }
    };
    Shape { host, template, target }
}

fn route(host: Option<&str>, template: &str) -> Route {
    Route {
        host: host.map(Into::into),
        methods: vec![Method::GET, Method::HEAD],
        access: Access::Protected,
        ..Route::public("r", Template::parse(template).expect("a template"))
    }
}
