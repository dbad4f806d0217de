//! The questions that were put: when each may be looked at again, and what has become of it.
//!
//! An issuer gives its answer once. So a look at it runs to its end though the browser that wanted it is gone, those who
//! want it meanwhile wait for the same one, and what came of it is kept till the question is over.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::wire::Handle;
use crate::enforce::flight::Flight;
use crate::enforce::prompts::{Answered, PromptFault};

/// So many questions are known at once. Of one that is not known any more the issuer is asked again.
const MOST: usize = 4096;
/// An issuer that says `slow_down` is to be asked so much less often (CIBA Core 1.0 §11).
const SLOWER: Duration = Duration::from_secs(5);
/// An issuer that can't be reached is asked no more seldom than this: people have a minute or two.
const SLOWEST: Duration = Duration::from_secs(30);

/// What came of a look.
pub type Outcome = Result<Answered, PromptFault>;

/// What the issuer has said.
#[derive(Debug, Clone)]
pub enum Said {
    /// Nothing yet.
    Pending,
    /// It is asked too often.
    SlowDown,
    /// It can't be asked.
    Nothing,
    /// It has given this ID token, which can't be checked now.
    Unchecked(Box<str>),
    /// All there is to say.
    Final(Outcome),
}

/// What to do for somebody who wants an answer.
pub enum Look {
    /// It is too early.
    Early(Duration),
    /// It is known.
    Known(Outcome),
    /// The issuer is being asked.
    Asking(Flight<Outcome>),
}

/// The questions of one asker.
#[derive(Default)]
pub struct Questions(Mutex<HashMap<Box<str>, Question>>);

struct Question {
    interval: Duration,
    /// How often in a row the issuer could not be asked.
    outages: u32,
    /// Before this the issuer is not asked.
    next_at: Instant,
    /// After this nobody wants to know.
    over_at: Instant,
    asking: Option<Flight<Outcome>>,
    outcome: Option<Outcome>,
    unchecked: Option<Box<str>>,
    word: Word,
}

/// Whether the issuer has sent word that there is an answer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Word {
    /// It has not.
    None,
    /// It has, and nobody has looked since.
    New,
    /// Somebody has looked.
    Old,
}

impl Questions {
    /// Remembers a question that was just put: the first look is an interval away.
    pub fn put(&self, handle: &Handle) {
        let mut questions = self.lock();
        let question = Question::new(handle, Instant::now() + handle.interval);
        make_room(&mut questions);
        questions.insert(handle.id.clone(), question);
    }

    /// Finds out about a question. Where it is time, `ask` starts to ask the issuer, or to check what it gave.
    pub fn look(&self, handle: &Handle, ask: impl FnOnce(Option<Box<str>>) -> Flight<Outcome>) -> Look {
        let (mut questions, now) = (self.lock(), Instant::now());
        if !questions.contains_key(&handle.id) {
            make_room(&mut questions);
        }
        // Another replica has put the one that is not known here.
        let question = questions.entry(handle.id.clone()).or_insert_with(|| Question::new(handle, now));
        if let Some(outcome) = &question.outcome {
            return Look::Known(outcome.clone());
        }
        if let Some(running) = question.asking.as_ref().filter(|running| !running.is_over()) {
            return Look::Asking(running.clone());
        }
        let is_told = question.word == Word::New;
        if now < question.next_at && !is_told {
            return Look::Early(question.next_at - now);
        }
        if is_told {
            question.word = Word::Old;
        }
        let flight = ask(question.unchecked.take());
        question.next_at = now + question.interval;
        question.asking = Some(flight.clone());
        Look::Asking(flight)
    }

    /// Keeps what the issuer has said, and says what that means.
    pub fn note(&self, id: &str, said: Said) -> Outcome {
        let mut questions = self.lock();
        let Some(question) = questions.get_mut(id) else {
            // Forgotten meanwhile.
            return match said {
                Said::Pending | Said::SlowDown => Ok(Answered::Waiting(SLOWER)),
                Said::Nothing | Said::Unchecked(_) => Err(PromptFault::Unavailable),
                Said::Final(outcome) => outcome,
            };
        };
        let outcome = match said {
            // The look had begun before the issuer sent word.
            Said::Pending if question.word == Word::New => Ok(Answered::Waiting(Duration::ZERO)),
            Said::Pending => Ok(Answered::Waiting(question.interval)),
            Said::SlowDown => {
                question.interval += SLOWER;
                Ok(Answered::Waiting(question.interval))
            }
            Said::Nothing => {
                question.outages = question.outages.saturating_add(1);
                question.next_at = Instant::now() + question.pause();
                return Err(PromptFault::Unavailable);
            }
            Said::Unchecked(token) => {
                question.unchecked = Some(token);
                Err(PromptFault::Unavailable)
            }
            Said::Final(outcome) => {
                question.outcome = Some(outcome.clone());
                outcome
            }
        };
        // From the end of the answer: what is sent after that arrives after that.
        (question.outages, question.next_at) = (0, Instant::now() + question.interval);
        outcome
    }

    /// The issuer has sent word: whoever looks next does so at once. Only once: what comes again changes nothing.
    pub fn hasten(&self, handle: &Handle) {
        if let Some(question) = self.lock().get_mut(&handle.id)
            && question.word == Word::None
        {
            question.word = Word::New;
        }
    }

    /// Forgets a question.
    pub fn forget(&self, id: &str) {
        self.lock().remove(id);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Box<str>, Question>> {
        // Held for a few assignments, never over an await; none of them can leave it half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Question {
    fn new(handle: &Handle, next_at: Instant) -> Self {
        let over_at = Instant::now() + handle.lifetime();
        let (asking, outcome, unchecked) = (None, None, None);
        let (interval, word) = (handle.interval, Word::None);
        Self { interval, outages: 0, next_at, over_at, asking, outcome, unchecked, word }
    }

    /// The pause after an outage: doubled with each, as RFC 8628 §3.5 advises for the same kind of waiting.
    fn pause(&self) -> Duration {
        let times = 1_u32.checked_shl(self.outages).unwrap_or(u32::MAX);
        self.interval.saturating_mul(times).min(SLOWEST.max(self.interval))
    }
}

/// Forgets what is over, and where that is nothing what is over first.
fn make_room(questions: &mut HashMap<Box<str>, Question>) {
    if questions.len() < MOST {
        return;
    }
    let now = Instant::now();
    questions.retain(|_, question| question.over_at > now);
    if questions.len() >= MOST
        && let Some(first) = questions.iter().min_by_key(|(_, question)| question.over_at)
    {
        let first = first.0.clone();
        questions.remove(&first);
    }
}

#[cfg(test)]
mod tests {
    use tokio::runtime::Handle as Runtime;

    use super::*;

    fn handle(id: &str) -> Handle {
        Handle { asked_at: 1_000, expires_at: 1_120, interval: Duration::from_secs(5), id: id.into() }
    }

    async fn look(questions: &Questions, said: Said) -> Option<Outcome> {
        let noted = |_| {
            let outcome = questions.note_later(said);
            Flight::start(&Runtime::current(), async move { outcome })
        };
        match questions.look(&handle("q"), noted) {
            Look::Early(_) => None,
            Look::Known(outcome) => Some(outcome),
            Look::Asking(flight) => flight.outcome(Duration::from_secs(1)).await,
        }
    }

    impl Questions {
        /// What `note` would say; within `look` the lock is held.
        fn note_later(&self, said: Said) -> Outcome {
            let other = Self::default();
            other.put(&handle("q"));
            other.note("q", said)
        }
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn nobody_is_asked_before_it_is_time() {
        let questions = Questions::default();
        questions.put(&handle("q"));
        assert_eq!(look(&questions, Said::Pending).await, None, "an interval after it was put");
        tokio::time::advance(5 * SECOND).await;
        assert_eq!(look(&questions, Said::Pending).await, Some(Ok(Answered::Waiting(5 * SECOND))));
        assert_eq!(questions.note("q", Said::SlowDown), Ok(Answered::Waiting(10 * SECOND)));
        tokio::time::advance(9 * SECOND).await;
        assert_eq!(look(&questions, Said::Pending).await, None, "five seconds more");
        tokio::time::advance(SECOND).await;
        assert!(look(&questions, Said::Pending).await.is_some());
        for seconds in [20, 30, 30] {
            assert_eq!(questions.note("q", Said::Nothing), Err(PromptFault::Unavailable));
            tokio::time::advance(Duration::from_secs(seconds) - SECOND / 2).await;
            assert_eq!(look(&questions, Said::Pending).await, None, "{seconds}");
        }
        assert_eq!(questions.note("q", Said::Pending), Ok(Answered::Waiting(10 * SECOND)), "it is back");
    }

    #[tokio::test(start_paused = true)]
    async fn word_of_the_issuer_is_worth_one_look() {
        let questions = Questions::default();
        questions.put(&handle("q"));
        questions.hasten(&handle("q"));
        assert!(look(&questions, Said::Pending).await.is_some(), "at once");
        questions.hasten(&handle("q"));
        assert_eq!(look(&questions, Said::Pending).await, None, "not for a second word");
        // It comes while the issuer is being asked.
        questions.put(&handle("r"));
        tokio::time::advance(5 * SECOND).await;
        let slow = |_: Option<Box<str>>| {
            Flight::start(&Runtime::current(), async {
                tokio::time::sleep(SECOND).await;
                Ok(Answered::Declined)
            })
        };
        let other = Handle { id: "r".into(), ..handle("r") };
        assert!(matches!(questions.look(&other, slow), Look::Asking(_)));
        questions.hasten(&other);
        assert_eq!(questions.note("r", Said::Pending), Ok(Answered::Waiting(Duration::ZERO)));
        tokio::time::advance(SECOND).await;
        assert!(matches!(questions.look(&other, slow), Look::Asking(_)), "and once more, for the word");
        questions.hasten(&handle("unknown"));
    }

    #[tokio::test(start_paused = true)]
    async fn one_question_to_the_issuer_serves_all_and_its_answer_stays() {
        let questions = Questions::default();
        let flights = std::cell::Cell::new(0);
        let slow = |_: Option<Box<str>>| {
            flights.set(flights.get() + 1);
            Flight::start(&Runtime::current(), async {
                tokio::time::sleep(SECOND).await;
                Ok(Answered::Declined)
            })
        };
        assert!(matches!(questions.look(&handle("q"), slow), Look::Asking(_)), "not known here: at once");
        assert!(matches!(questions.look(&handle("q"), slow), Look::Asking(_)), "the same");
        assert_eq!(flights.get(), 1);
        assert_eq!(questions.note("q", Said::Final(Ok(Answered::Declined))), Ok(Answered::Declined));
        assert!(matches!(questions.look(&handle("q"), slow), Look::Known(Ok(Answered::Declined))));
        questions.forget("q");
        assert!(matches!(questions.look(&handle("q"), slow), Look::Asking(_)));
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_can_not_be_checked_yet_is_not_lost() {
        let questions = Questions::default();
        questions.put(&handle("q"));
        assert_eq!(questions.note("q", Said::Unchecked("a.b.c".into())), Err(PromptFault::Unavailable));
        tokio::time::advance(5 * SECOND).await;
        let mut given = None;
        let look = questions.look(&handle("q"), |token| {
            given = token;
            Flight::start(&Runtime::current(), async { Ok(Answered::Expired) })
        });
        assert!(matches!(look, Look::Asking(_)));
        assert_eq!(given.as_deref(), Some("a.b.c"));
    }

    #[tokio::test(start_paused = true)]
    async fn there_is_an_end_to_what_is_remembered() {
        let questions = Questions::default();
        for number in 0..MOST + 10 {
            questions.put(&handle(&number.to_string()));
            tokio::time::advance(Duration::from_millis(1)).await;
        }
        assert_eq!(questions.lock().len(), MOST);
        assert!(!questions.lock().contains_key("0"), "the oldest are forgotten");
        tokio::time::advance(Duration::from_secs(1_000)).await;
        questions.put(&handle("new"));
        assert_eq!(questions.lock().len(), 1);
    }
}
