//! What the pages say where the rules bend for care: people who act for patients, and records opened in an emergency.

/// A title, a body and what the button says.
type Words = (&'static str, &'static str, &'static str);

pub(super) const BREAK_GLASS_EN: Words = (
    "Open this record in an emergency?",
    "You have no access to it. If you open it now, that is recorded under your name, an alarm is raised, and somebody else reviews it.",
    "Open the record",
);
pub(super) const BREAK_GLASS_ES: Words = (
    "¿Abrir este expediente en una emergencia?",
    "No tiene acceso a él. Si lo abre ahora, queda registrado a su nombre, se da un aviso y otra persona lo revisa.",
    "Abrir el expediente",
);
pub(super) const DELEGATIONS_EN: Words = (
    "People who act for you",
    "They use parts of your record with an account of their own. You can end that at any time.",
    "",
);
pub(super) const DELEGATIONS_ES: Words = (
    "Personas que actúan por usted",
    "Usan partes de su expediente con una cuenta propia. Puede terminarlo en cualquier momento.",
    "",
);
pub(super) const NOBODY_ACTS_EN: Words = (
    "Nobody acts for you",
    "Nobody uses your record with an account of their own. If you want somebody to help you, ask the clinic.",
    "Go back",
);
pub(super) const NOBODY_ACTS_ES: Words = (
    "Nadie actúa por usted",
    "Nadie usa su expediente con una cuenta propia. Si quiere que alguien le ayude, pregunte en la clínica.",
    "Volver",
);
pub(super) const END_DELEGATION_EN: Words = (
    "End this access?",
    "{label} will not be able to use your record any more, from this moment on. To allow it again you have to ask the clinic.",
    "Yes, end it",
);
pub(super) const END_DELEGATION_ES: Words = (
    "¿Terminar este acceso?",
    "{label} ya no podrá usar su expediente desde este momento. Para permitirlo otra vez tiene que preguntar en la clínica.",
    "Sí, terminarlo",
);
pub(super) const BREAK_GLASS_PROOF_EN: Words = (
    "First confirm that it is you",
    "Sign in again to open a record in an emergency. After that you come back to the page that you wanted.",
    "Sign in again",
);
pub(super) const BREAK_GLASS_PROOF_ES: Words = (
    "Primero confirme que es usted",
    "Inicie sesión de nuevo para abrir un expediente en una emergencia. Después vuelve a la página que quería.",
    "Volver a iniciar sesión",
);
pub(super) const BREAK_GLASS_SUSPENDED_EN: Words = (
    "You can't open records in an emergency at the moment",
    "You have done so before, and nobody has reviewed that in time. Ask whoever reviews it, or somebody who may open the record.",
    "Go back",
);
pub(super) const BREAK_GLASS_SUSPENDED_ES: Words = (
    "De momento no puede abrir expedientes en una emergencia",
    "Ya lo hizo antes y nadie lo ha revisado a tiempo. Pregunte a quien lo revisa, o a alguien que pueda abrir el expediente.",
    "Volver",
);
pub(super) const BREAK_GLASS_DRILL_EN: Words =
    ("This was a drill", "All of it happened as in an emergency, and nothing was opened.", "Go back");
pub(super) const BREAK_GLASS_DRILL_ES: Words =
    ("Esto fue un simulacro", "Todo pasó como en una emergencia, y no se abrió nada.", "Volver");
