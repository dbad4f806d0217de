//! The index: who wins, and what upstreams with readings of their own may be sent.

use proptest::prelude::*;

use super::super::template::Template;
use super::*;

fn index(routes: &[(&str, &str, &str)]) -> Result<Index, Vec<Ambiguous>> {
    let routes: Vec<Route> =
        routes.iter().map(|(host, path, methods)| Route::sample(host, path, methods)).collect();
    Index::build(&routes)
}

fn find(index: &Index, host: &str, path: &str, method: &str) -> Match {
    let method = Method::from_bytes(method.as_bytes()).expect("method");
    index.look_up(host, &Target::parse(path.as_bytes()).expect("target"), &method, false)
}

#[test]
fn the_most_specific_path_wins() {
    let index = index(&[
        ("", "/**", "GET"),
        ("", "/p/{id}", "GET"),
        ("", "/p/new", "GET"),
        ("", "/p/{id}/x/**", "GET"),
        ("h", "/p/**", "GET"),
        ("", "/p/new/y", "GET"),
    ])
    .expect("unambiguous");
    for (host, path, route) in [
        ("a", "/", 0),
        ("a", "/other/deep", 0),
        ("a", "/p/7", 1),
        ("a", "/p/new", 2),
        ("a", "/p/new/x", 3),
        ("a", "/p/new/x/", 3),
        ("a", "/p/new/y", 5),
        ("a", "/p/new/z", 0),
        ("a", "/p/", 0),
        ("h", "/p/new", 4),
        ("h", "/p", 4),
        ("h", "/q", 0),
    ] {
        assert_eq!(find(&index, host, path, "GET"), Match::Route(route), "{host}{path}");
    }
}

#[test]
fn a_known_path_never_falls_through_by_method() {
    let index = index(&[("", "/**", "GET,POST"), ("", "/p/{id}", "GET"), ("h", "/p/{id}", "PUT")])
        .expect("unambiguous");
    assert_eq!(find(&index, "a", "/p/7", "POST"), Match::OtherMethod(vec![Method::GET]));
    assert_eq!(find(&index, "h", "/p/7", "GET"), Match::OtherMethod(vec![Method::PUT]));
    assert_eq!(find(&index, "a", "/p/7/x", "POST"), Match::Route(0));
    assert_eq!(find(&index, "a", "/p/7", "GETX"), Match::OtherMethod(vec![Method::GET]));
}

#[test]
fn another_spelling_of_a_precise_route_never_falls_to_a_broader_one() {
    let index =
        index(&[("", "/p/{id}/**", "GET,POST"), ("", "/p/{id}/export", "POST")]).expect("unambiguous");
    assert_eq!(find(&index, "a", "/p/7/export", "POST"), Match::Route(1));
    for path in ["/p/7/export/", "/p/7/Export", "/p/7/EXPORT/"] {
        // Also for a method that the precise route does not take: its path does not fall through by method either.
        assert_eq!(find(&index, "a", path, "POST"), Match::None, "{path}");
        assert_eq!(find(&index, "a", path, "GET"), Match::None, "{path}");
    }
    assert_eq!(find(&index, "a", "/p/7/other/", "POST"), Match::Route(0));
}

#[test]
fn another_spelling_is_judged_as_the_upstream_reads_it() {
    let index =
        relaxed(&[("/p/**", "GET", PARAMETERS), ("/p/export", "GET", PARAMETERS)]).expect("unambiguous");
    assert_eq!(ask(&index, "/p/export;x"), Match::Route(1));
    for path in ["/p/Export;x", "/p/export;x/", "/p/export/;x"] {
        assert_eq!(ask(&index, path), Match::None, "{path}");
    }
    assert_eq!(ask(&index, "/p/other;export/"), Match::Route(0));
}

#[test]
fn two_winners_refuse_the_build() {
    assert_eq!(
        index(&[("", "/p/{a}", "GET,PUT"), ("", "/p/{b}", "PUT")]).expect_err("ambiguous"),
        vec![Ambiguous { first: 0, second: 1, why: Ambiguity::BothWin }]
    );
    assert!(index(&[("", "/p/{a}", "GET"), ("", "/p/{b}", "PUT"), ("h", "/p/{c}", "GET")]).is_ok());
}

const INSENSITIVE: PathReading = FOLDED;
const PARAMETERS: PathReading = PathReading { drops_parameters: true, ..PathReading::STRICT };
const LATIN1: PathReading = PathReading { latin1: true, ..PathReading::STRICT };

/// Routes with the reading of their upstreams.
fn relaxed(routes: &[(&str, &str, PathReading)]) -> Result<Index, Vec<Ambiguous>> {
    let routes: Vec<Route> = routes
        .iter()
        .map(|(path, methods, reading)| Route { reading: *reading, ..Route::sample("", path, methods) })
        .collect();
    Index::build(&routes)
}

fn ask(index: &Index, raw: &str) -> Match {
    let target = Target::receive(raw.as_bytes()).expect("receivable");
    index.look_up("h", &target, &Method::GET, false)
}

#[test]
fn an_insensitive_upstream_is_asked_about_every_spelling() {
    let index = relaxed(&[
        ("/**", "GET", INSENSITIVE),
        ("/Admin/**", "POST", INSENSITIVE),
        ("/admin/x", "GET", INSENSITIVE),
    ])
    .expect("unambiguous");
    assert_eq!(ask(&index, "/other"), Match::Route(0));
    for path in ["/admin/y", "/ADMIN/y", "/aDmIn"] {
        assert_eq!(ask(&index, path), Match::OtherMethod(vec![Method::POST]), "{path}");
    }
    assert_eq!(ask(&index, "/ADMIN/X"), Match::Route(2));
}

#[test]
fn the_strict_upstream_keeps_its_own_reading() {
    let index = relaxed(&[
        ("/**", "GET", PathReading::STRICT),
        ("/legacy/**", "GET", INSENSITIVE),
        ("/legacy/admin/**", "GET", INSENSITIVE),
        ("/App/admin", "GET", PathReading::STRICT),
    ])
    .expect("unambiguous");
    assert_eq!(ask(&index, "/legacy/x"), Match::Route(1));
    assert_eq!(ask(&index, "/legacy/ADMIN/x"), Match::Route(2), "not the broader route of the same upstream");
    assert_eq!(ask(&index, "/app/admin"), Match::None, "not the broader route: a lenient page may be meant");
    // Two upstreams are meant: the catch-all's, to which this is another page, and the legacy one's.
    for path in ["/LEGACY/x", "/Legacy/ADMIN/x"] {
        assert_eq!(ask(&index, path), Match::Unreadable(Unreadable::AmbiguousReading), "{path}");
    }
}

#[test]
fn what_only_a_relaxed_upstream_reads_goes_to_no_other() {
    let index = relaxed(&[
        ("/**", "GET", PathReading::STRICT),
        ("/java/**", "GET", PARAMETERS),
        ("/old/**", "GET", LATIN1),
    ])
    .expect("unambiguous");
    assert_eq!(ask(&index, "/java/x;jsessionid=1"), Match::Route(1));
    assert_eq!(ask(&index, "/java;x/y"), Match::Route(1));
    assert_eq!(ask(&index, "/old/%E9"), Match::Route(2));
    assert_eq!(ask(&index, "/old/x"), Match::Route(2));
    for (path, why) in [
        ("/app/x;y", Unreadable::PathParameter),
        ("/old/x;y", Unreadable::PathParameter),
        ("/java/..;/app", Unreadable::PathParameter),
        ("/java/%E9", Unreadable::NotUtf8),
        ("/app/%E9", Unreadable::NotUtf8),
    ] {
        assert_eq!(ask(&index, path), Match::Unreadable(why), "{path}");
    }
    // As UTF-8 this is a page of nobody's: the latin1 upstream could take it for two characters.
    assert_eq!(ask(&index, "/old/%C3%A9"), Match::None);
}

#[test]
fn spellings_that_one_upstream_sees_and_one_does_not_refuse_the_build() {
    let strict = PathReading::STRICT;
    for (first, second, clash) in [
        (("/Legacy/**", INSENSITIVE), ("/legacy/x", strict), true),
        (("/legacy/x", strict), ("/Legacy/**", INSENSITIVE), true),
        (("/legacy/**", INSENSITIVE), ("/legacy/x", strict), false),
        (("/Legacy/**", INSENSITIVE), ("/legacy/x", INSENSITIVE), false),
        (("/{a}/Legacy", INSENSITIVE), ("/{b}/legacy", strict), true),
        (("/Legacy", PARAMETERS), ("/legacy", strict), false),
    ] {
        let built = relaxed(&[(first.0, "GET", first.1), (second.0, "PUT", second.1)]);
        let expected = if clash {
            vec![Ambiguous { first: 0, second: 1, why: Ambiguity::Spelling }]
        } else {
            Vec::new()
        };
        assert_eq!(built.err().unwrap_or_default(), expected, "{first:?} {second:?}");
    }
    assert_eq!(
        relaxed(&[("/a/{x}", "GET", INSENSITIVE), ("/A/{y}", "GET", INSENSITIVE)])
            .expect_err("the same path"),
        vec![Ambiguous { first: 0, second: 1, why: Ambiguity::BothWin }]
    );
}

/// A second implementation of what an upstream sees: segments, or nothing where it can't be told.
fn seen(raw: &str, reading: PathReading) -> Option<Vec<String>> {
    let mut segments = Vec::new();
    for segment in raw.strip_prefix('/')?.split('/') {
        let segment = match segment.split_once(';') {
            Some((name, _)) if reading.drops_parameters => name,
            Some(_) => return None,
            None => segment,
        };
        let segment = match (segment.contains("%E9"), segment.contains("%C3%A9")) {
            (true, _) if !reading.latin1 => return None,
            (_, true) if reading.latin1 => return None,
            _ => segment.replace("%E9", "\u{e9}").replace("%C3%A9", "\u{e9}"),
        };
        segments.push(if reading.ignores_case { segment.to_lowercase() } else { segment });
    }
    let (_, but_last) = segments.split_last()?;
    but_last.iter().all(|segment| !segment.is_empty()).then_some(segments)
}

/// How specifically a template takes segments, position by position; nothing where it does not take them.
fn specificity(template: &Template, path: &[String], reading: PathReading) -> Option<Vec<u8>> {
    let mut ranks = Vec::new();
    let steps = template.steps();
    for (at, segment) in path.iter().enumerate() {
        match steps.get(at) {
            Some(Step::Literal(text)) => {
                let text = if reading.ignores_case { text.to_lowercase() } else { text.to_string() };
                if text != *segment {
                    return None;
                }
                ranks.push(3);
            }
            Some(Step::Parameter(_)) if !segment.is_empty() => ranks.push(2),
            Some(Step::Parameter(_)) => return None,
            None if template.is_open() => {
                ranks.push(1);
                return Some(ranks);
            }
            None => return None,
        }
    }
    match steps.len() == path.len() {
        true if template.is_open() => ranks.push(0),
        true => ranks.push(1),
        false => return None,
    }
    Some(ranks)
}

/// The routes of the most specific path under a reading, found by looking at every route.
fn best(routes: &[Route], raw: &str, reading: PathReading) -> Vec<usize> {
    let Some(path) = seen(raw, reading) else { return Vec::new() };
    let ranked: Vec<(Vec<u8>, usize)> = routes
        .iter()
        .enumerate()
        .filter_map(|(at, route)| Some((specificity(&route.template, &path, reading)?, at)))
        .collect();
    let most = ranked.iter().map(|(ranks, _)| ranks).max().cloned();
    ranked.into_iter().filter(|(ranks, _)| Some(ranks) == most.as_ref()).map(|(_, at)| at).collect()
}

/// Whether a more specific template than that of `found` takes the path but for capitals and a slash at the end.
fn near(routes: &[Route], raw: &str, found: usize) -> bool {
    let Some(path) = seen(raw, routes[found].reading) else { return false };
    let mut path: Vec<String> = path.iter().map(|segment| segment.to_lowercase()).collect();
    if path.len() > 1 && path.last().is_some_and(String::is_empty) {
        path.pop();
    }
    let rank = |route: &Route| {
        let text = route.template.as_str().to_lowercase();
        let text = text.strip_suffix('/').filter(|text| !text.is_empty()).unwrap_or(&text);
        specificity(&Route::sample("", text, "GET").template, &path, PathReading::STRICT)
    };
    routes.iter().filter_map(rank).max() > rank(&routes[found])
}

fn any_reading() -> impl Strategy<Value = PathReading> {
    (any::<bool>(), any::<bool>(), any::<bool>()).prop_map(|(ignores_case, drops_parameters, latin1)| {
        PathReading { ignores_case, drops_parameters, latin1 }
    })
}

fn any_path() -> impl Strategy<Value = String> {
    let segment = prop::sample::select(vec!["a", "A", "b", "B", "{x}", "\u{e9}"]);
    (prop::collection::vec(segment, 0..4), any::<bool>()).prop_map(|(segments, open)| {
        let mut path: String = segments
            .iter()
            .enumerate()
            .map(
                |(at, segment)| if *segment == "{x}" { format!("/{{x{at}}}") } else { format!("/{segment}") },
            )
            .collect();
        if open {
            path.push_str("/**");
        }
        if path.is_empty() { "/".to_owned() } else { path }
    })
}

fn any_target() -> impl Strategy<Value = String> {
    let segment = prop::sample::select(vec!["a", "A", "b", "c", "a;x", "B;y=1", "%E9", "%C3%A9", ";"]);
    (prop::collection::vec(segment, 1..5), any::<bool>())
        .prop_map(|(segments, slash)| format!("/{}{}", segments.join("/"), if slash { "/" } else { "" }))
}

fn any_routes(upstreams: usize) -> impl Strategy<Value = Vec<Route>> {
    let readings = prop::collection::vec(any_reading(), upstreams);
    let route = (any_path(), 0..upstreams, prop::sample::select(vec!["GET", "PUT", "GET,PUT"]));
    (readings, prop::collection::vec(route, 1..7)).prop_map(|(readings, routes)| {
        let route = |(path, upstream, methods): (String, usize, &str)| Route {
            upstream,
            reading: readings[upstream],
            ..Route::sample("", &path, methods)
        };
        routes.into_iter().map(route).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, max_global_rejects: 100_000, ..ProptestConfig::default() })]

    /// The one property that matters: what is forwarded to an upstream was decided by the route that is the most
    /// specific one for what this upstream sees.
    #[test]
    fn a_route_is_only_found_by_the_reading_of_its_own_upstream(routes in any_routes(3), raw in any_target()) {
        let Ok(index) = Index::build(&routes) else { return Err(TestCaseError::reject("ambiguous")) };
        let Ok(target) = Target::receive(raw.as_bytes()) else { return Ok(()) };
        if let Match::Route(found) = index.look_up("h", &target, &Method::GET, false) {
            let expected = best(&routes, &raw, routes[found].reading);
            prop_assert!(expected.contains(&found), "{raw} went to {found}, but its upstream serves {expected:?}");
        }
    }

    /// Where there is one upstream, nothing is refused that it reads without doubt, but other
    /// spellings of more specific routes.
    #[test]
    fn one_upstream_alone_is_never_ambiguous(routes in any_routes(1), raw in any_target()) {
        let Ok(index) = Index::build(&routes) else { return Err(TestCaseError::reject("ambiguous")) };
        let Ok(target) = Target::receive(raw.as_bytes()) else { return Ok(()) };
        let expected = best(&routes, &raw, routes[0].reading);
        let takes_get = expected.iter().copied().find(|at| routes[*at].methods.contains(&Method::GET));
        match (index.look_up("h", &target, &Method::GET, false), takes_get) {
            (Match::Route(found), Some(wanted)) => {
                prop_assert_eq!(found, wanted);
                prop_assert!(!near(&routes, &raw, found), "{raw} is near another route than {found}");
            }
            (Match::None, Some(wanted)) => prop_assert!(near(&routes, &raw, wanted), "{raw}: not {wanted}"),
            (Match::OtherMethod(_), None) => prop_assert!(!expected.is_empty()),
            (Match::None | Match::Unreadable(_), None) => prop_assert!(expected.is_empty()),
            (found, wanted) => prop_assert!(false, "{raw}: {found:?}, not {wanted:?}"),
        }
    }

    /// Upstreams that are strict are not touched by what is relaxed elsewhere, unless both could be meant,
    /// or a more specific route by another spelling.
    #[test]
    fn relaxations_take_nothing_from_strict_upstreams(routes in any_routes(3), raw in any_target()) {
        let Ok(index) = Index::build(&routes) else { return Err(TestCaseError::reject("ambiguous")) };
        let Ok(target) = Target::receive(raw.as_bytes()) else { return Ok(()) };
        let strict = best(&routes, &raw, PathReading::STRICT);
        let own = strict.iter().copied().find(|at| {
            routes[*at].reading == PathReading::STRICT && routes[*at].methods.contains(&Method::GET)
        });
        if let Some(own) = own {
            let found = index.look_up("h", &target, &Method::GET, false);
            let ambiguous = Match::Unreadable(Unreadable::AmbiguousReading);
            let is_near = found == Match::None && near(&routes, &raw, own);
            prop_assert!(found == Match::Route(own) || found == ambiguous || is_near, "{raw}: {found:?}, not {own}");
        }
    }
}
