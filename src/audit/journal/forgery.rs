//! Trails that somebody makes up who knows the format, and has a key of a process that has ended.

use crate::audit::frame;
use crate::audit::signing::{Key, Trusted};
use crate::audit::tree::Tree;
use crate::audit::verify::{Fault, Findings, Verifier};

/// A trail in the making, with right checksums and numbers.
#[derive(Clone)]
struct Forge {
    /// `None` where a file ends.
    lines: Vec<Option<Vec<u8>>>,
    tree: Tree,
    log: &'static str,
    next: u64,
}

fn text(value: &str) -> String {
    serde_json::to_string(value).expect("JSON")
}

impl Forge {
    fn new(log: &'static str, why: &str) -> Self {
        let mut forge = Self { lines: Vec::new(), tree: Tree::default(), log, next: 1 };
        forge.segment(why);
        forge
    }

    fn put(&mut self, members: &str) {
        let head = format!(r#"{{"seq":{},"origin":"o","time":"t","v":1,{members}}}"#, self.next);
        let mut line = head.into_bytes();
        frame::close(&mut line, 0);
        self.tree.push(&line);
        self.lines.push(Some(line));
        self.next += 1;
    }

    fn segment(&mut self, why: &str) {
        let (log, next) = (self.log, self.next);
        self.put(&format!(
            r#""event":"segment","log":"{log}","tree_first":{next},"size":0,"edge":[],"why":"{why}""#
        ));
    }

    /// Begins another log in another file.
    fn begin(&mut self, log: &'static str, why: &str) {
        self.lines.push(None);
        (self.log, self.tree) = (log, Tree::default());
        self.segment(why);
    }

    fn record(&mut self) {
        self.put(r#""event":"intent""#);
    }

    fn certificate(&self, kept: &Key, boot: &Key) -> String {
        kept.certify(boot.public(), self.log, &self.tree).expect("signed")
    }

    fn signer(&mut self, boot: &Key, certificate: &str) {
        let (key, certificate) = (text(boot.public()), text(certificate));
        self.put(&format!(r#""event":"signer","key":{key},"certificate":{certificate}"#));
    }

    fn checkpoint(&mut self, boot: &Key) {
        let note = boot.checkpoint(self.log, self.tree.size(), self.tree.root()).expect("signed");
        self.put(&format!(r#""event":"checkpoint","note":{}"#, text(&note)));
    }

    fn verified(&self, kept: &Key) -> Result<Findings, Fault> {
        let trusted = Trusted::read(kept.public()).expect("a key");
        let mut verifier = Verifier::new(&trusted, None);
        for line in &self.lines {
            match line {
                Some(line) => verifier.record(line)?,
                None => verifier.next_file(),
            }
        }
        Ok(verifier.finish())
    }
}

fn keys() -> [Key; 3] {
    let key = |secret| Key::boot(&[secret; 32]).expect("a key");
    [Key::kept(&[1; 32]).expect("a key"), key(2), key(3)]
}

#[test]
fn a_process_signs_for_nothing_else_than_what_it_began_behind() {
    let [kept, boot, _] = keys();
    let mut honest = Forge::new("a", "started");
    let certificate = honest.certificate(&kept, &boot);
    honest.signer(&boot, &certificate);
    honest.record();
    honest.checkpoint(&boot);
    assert!(honest.verified(&kept).expect("whole").unvouched.is_empty());
    // More before it; as much, and something else.
    let mut more = Forge::new("a", "started");
    more.record();
    let other = Forge::new("a", "another reason");
    for mut forge in [more, other] {
        forge.signer(&boot, &certificate);
        forge.record();
        forge.checkpoint(&boot);
        assert_eq!(forge.verified(&kept), Err(Fault::UnknownSigner));
    }
}

#[test]
fn numbers_behind_which_there_is_no_room_are_not_gone_on_after() {
    let [kept, boot, _] = keys();
    for (first, expected) in [((1 << 62) - 2, Ok(())), ((1 << 62) - 1, Err(Fault::Malformed))] {
        let mut forge = Forge { lines: Vec::new(), tree: Tree::default(), log: "a", next: first };
        forge.segment("started");
        let certificate = forge.certificate(&kept, &boot);
        forge.signer(&boot, &certificate);
        assert_eq!(forge.verified(&kept).map(drop), expected);
    }
}

#[test]
fn a_process_that_has_ended_signs_no_more() {
    let [kept, first, second] = keys();
    let mut forge = Forge::new("a", "started");
    let certificate = forge.certificate(&kept, &first);
    forge.signer(&first, &certificate);
    forge.record();
    forge.checkpoint(&first);
    let own = forge.certificate(&kept, &second);
    forge.signer(&second, &own);
    forge.record();
    let mut signed = forge.clone();
    signed.checkpoint(&second);
    assert_eq!(signed.verified(&kept).expect("whole").unsealed, 0);
    let mut by_the_first = forge.clone();
    by_the_first.checkpoint(&first);
    assert_eq!(by_the_first.verified(&kept), Err(Fault::UnknownSignature));
    forge.signer(&first, &certificate);
    assert_eq!(forge.verified(&kept), Err(Fault::UnknownSigner));
}

#[test]
fn a_new_log_hides_nothing_of_the_one_before() {
    let [kept, first, second] = keys();
    let mut forge = Forge::new("a", "started");
    let certificate = forge.certificate(&kept, &first);
    forge.signer(&first, &certificate);
    forge.record();
    forge.checkpoint(&first);
    forge.record();
    let last = forge.next - 1;
    let mut back = forge.clone();
    forge.begin("b", "quarantined");
    let certificate = forge.certificate(&kept, &second);
    forge.signer(&second, &certificate);
    forge.checkpoint(&second);
    let findings = forge.verified(&kept).expect("nothing that was signed was changed");
    assert_eq!((findings.quarantines, findings.unvouched), (1, vec![(last, last)]));
    // Numbers that are given again would stand for records that were taken out.
    back.next -= 1;
    back.begin("b", "quarantined");
    assert_eq!(back.verified(&kept), Err(Fault::DoesNotContinue));
}
