//! A tree of path segments for each host: the most specific path wins, segment by segment.

use std::borrow::Cow;

use foldhash::HashMap;
use smallvec::SmallVec;

use super::Route;
use super::template::{Step, Template, segments};
use crate::request::PathReading;

#[derive(Debug, Default)]
struct Node {
    literals: HashMap<Box<str>, u32>,
    parameter: Option<u32>,
    here: SmallVec<[u32; 2]>,
    below: SmallVec<[u32; 2]>,
}

/// Routes by host and path.
#[derive(Debug, Default)]
pub(super) struct Tree {
    nodes: Vec<Node>,
    hosts: HashMap<Box<str>, u32>,
    any_host: Option<u32>,
}

impl Tree {
    /// Puts a route in, its path folded by `reading`; gives the routes that had the same path already.
    pub(super) fn insert(&mut self, route: &Route, leaf: u32, reading: PathReading) -> SmallVec<[u32; 2]> {
        let root = self.root(route.host.as_deref());
        let slot = self.slot(root, &route.template, reading);
        let before = slot.clone();
        slot.push(leaf);
        before
    }

    /// The routes of the most specific path that this one matches; the exact host before any host.
    pub(super) fn leaves(&self, host: &str, path: &str) -> &[u32] {
        let segments: SmallVec<[&str; 16]> = segments(path).collect();
        let roots = [self.hosts.get(host).copied(), self.any_host];
        roots.into_iter().flatten().find_map(|root| self.walk(root, &segments)).unwrap_or_default()
    }

    /// The leaves of the most specific path. Each node is visited at most once, so a request can't make this slow.
    fn walk(&self, at: u32, segments: &[&str]) -> Option<&[u32]> {
        let node = self.nodes.get(at as usize)?;
        let Some((segment, rest)) = segments.split_first() else {
            return [&node.here, &node.below]
                .into_iter()
                .find(|leaves| !leaves.is_empty())
                .map(|leaves| leaves.as_slice());
        };
        let by_text = node.literals.get(*segment).and_then(|next| self.walk(*next, rest));
        let by_parameter =
            || node.parameter.filter(|_| !segment.is_empty()).and_then(|next| self.walk(next, rest));
        by_text
            .or_else(by_parameter)
            .or_else(|| if node.below.is_empty() { None } else { Some(node.below.as_slice()) })
    }

    fn root(&mut self, host: Option<&str>) -> u32 {
        let known = match host {
            Some(host) => self.hosts.get(host).copied(),
            None => self.any_host,
        };
        if let Some(root) = known {
            return root;
        }
        let root = self.new_node();
        match host {
            Some(host) => drop(self.hosts.insert(host.into(), root)),
            None => self.any_host = Some(root),
        }
        root
    }

    fn new_node(&mut self) -> u32 {
        self.nodes.push(Node::default());
        u32::try_from(self.nodes.len() - 1).unwrap_or(u32::MAX)
    }

    fn slot(&mut self, root: u32, template: &Template, reading: PathReading) -> &mut SmallVec<[u32; 2]> {
        let mut at = root;
        for step in template.steps() {
            let literal = match step {
                Step::Literal(text) => Some(reading.fold(Cow::Borrowed(text))),
                Step::Parameter(_) => None,
            };
            let known = self.nodes.get(at as usize).and_then(|node| match &literal {
                Some(text) => node.literals.get(text.as_ref()).copied(),
                None => node.parameter,
            });
            let next = match known {
                Some(next) => next,
                None => {
                    let next = self.new_node();
                    if let Some(node) = self.nodes.get_mut(at as usize) {
                        match literal {
                            Some(text) => drop(node.literals.insert(text.into(), next)),
                            None => node.parameter = Some(next),
                        }
                    }
                    next
                }
            };
            at = next;
        }
        #[allow(clippy::indexing_slicing, reason = "`at` was made by `new_node` on this very index")]
        let node = &mut self.nodes[at as usize];
        if template.is_open() { &mut node.below } else { &mut node.here }
    }
}
