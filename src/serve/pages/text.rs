//! What the pages say, in plain words, in each language.

mod care;

use super::language::Language::{self, English, Spanish};

/// What a page is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Says {
    Chooser,
    ConfirmSignOut,
    SignedOut,
    Expired,
    Failed,
    Denied,
    Ended,
    MoreProof,
    NotFound,
    TooMany,
    Malformed,
    Outage,
    Uncertain,
    StepUp,
    NoWay,
    Confirm,
    Waiting,
    Asked,
    Proven,
    Sent,
    NotAccepted,
    AlreadySent,
    IntentGone,
    LinkGone,
    OtherPerson,
    ProofRefused,
    WayOutage,
    TooManyPrompts,
    BreakGlass,
    BreakGlassAgain,
    BreakGlassProof,
    BreakGlassSuspended,
    BreakGlassDrill,
    Delegations,
    NobodyActs,
    EndDelegation,
}

/// A page's words.
pub struct Text {
    pub title: &'static str,
    /// In which `{label}` is what people call the action.
    pub body: &'static str,
    /// What its button says, where it has one.
    pub action: &'static str,
}

impl Says {
    /// The status of a page that nothing else chooses one for.
    pub const fn status(self) -> u16 {
        match self {
            Self::Chooser | Self::ConfirmSignOut | Self::SignedOut => 200,
            Self::Confirm | Self::Waiting | Self::Asked | Self::Proven | Self::Sent => 200,
            Self::BreakGlass | Self::BreakGlassDrill => 200,
            Self::Delegations | Self::NobodyActs | Self::EndDelegation => 200,
            Self::BreakGlassAgain => 400,
            Self::BreakGlassProof => 401,
            Self::BreakGlassSuspended => 403,
            Self::Expired | Self::Malformed => 400,
            Self::MoreProof | Self::Ended | Self::StepUp | Self::NoWay => 401,
            Self::Failed | Self::Denied | Self::OtherPerson | Self::ProofRefused => 403,
            Self::NotFound => 404,
            Self::AlreadySent => 409,
            Self::IntentGone | Self::LinkGone => 410,
            Self::TooMany | Self::TooManyPrompts => 429,
            Self::Uncertain | Self::NotAccepted => 502,
            Self::Outage | Self::WayOutage => 503,
        }
    }

    /// The words. There is no catch-all, so that no page lacks a language.
    pub const fn text(self, language: Language) -> Text {
        let (title, body, action) = match (self, language) {
            (Self::BreakGlass | Self::BreakGlassAgain, English) => care::BREAK_GLASS_EN,
            (Self::BreakGlass | Self::BreakGlassAgain, Spanish) => care::BREAK_GLASS_ES,
            (Self::Delegations, English) => care::DELEGATIONS_EN,
            (Self::Delegations, Spanish) => care::DELEGATIONS_ES,
            (Self::NobodyActs, English) => care::NOBODY_ACTS_EN,
            (Self::NobodyActs, Spanish) => care::NOBODY_ACTS_ES,
            (Self::EndDelegation, English) => care::END_DELEGATION_EN,
            (Self::EndDelegation, Spanish) => care::END_DELEGATION_ES,
            (Self::BreakGlassProof, English) => care::BREAK_GLASS_PROOF_EN,
            (Self::BreakGlassProof, Spanish) => care::BREAK_GLASS_PROOF_ES,
            (Self::BreakGlassSuspended, English) => care::BREAK_GLASS_SUSPENDED_EN,
            (Self::BreakGlassSuspended, Spanish) => care::BREAK_GLASS_SUSPENDED_ES,
            (Self::BreakGlassDrill, English) => care::BREAK_GLASS_DRILL_EN,
            (Self::BreakGlassDrill, Spanish) => care::BREAK_GLASS_DRILL_ES,
            (Self::Chooser, English) => {
                ("How do you want to sign in?", "Choose the account that you use here.", "")
            }
            (Self::Chooser, Spanish) => ("¿Cómo quiere iniciar sesión?", "Elija la cuenta que usa aquí.", ""),
            (Self::ConfirmSignOut, English) => {
                ("Sign out?", "You will be signed out here and in every window of this browser.", "Sign out")
            }
            (Self::ConfirmSignOut, Spanish) => (
                "¿Cerrar la sesión?",
                "Se cerrará su sesión aquí y en todas las ventanas de este navegador.",
                "Cerrar sesión",
            ),
            (Self::SignedOut, English) => (
                "You are signed out",
                "If other people use this device, close the browser window too.",
                "Sign in again",
            ),
            (Self::SignedOut, Spanish) => (
                "Ha cerrado la sesión",
                "Si otras personas usan este dispositivo, cierre también la ventana del navegador.",
                "Volver a iniciar sesión",
            ),
            (Self::Expired, English) => (
                "Please sign in again",
                "The sign-in took too long, was already used, or was begun in another browser. Nothing has been changed.",
                "Sign in",
            ),
            (Self::Expired, Spanish) => (
                "Inicie sesión de nuevo",
                "El inicio de sesión tardó demasiado, ya se usó o empezó en otro navegador. No se ha cambiado nada.",
                "Iniciar sesión",
            ),
            (Self::Failed, English) => (
                "You could not be signed in",
                "Your account was not confirmed. Try again; if it happens again, contact support and give the number below.",
                "Try again",
            ),
            (Self::Failed, Spanish) => (
                "No se pudo iniciar la sesión",
                "No se confirmó su cuenta. Inténtelo de nuevo; si vuelve a ocurrir, llame a soporte y dé el número de abajo.",
                "Intentar de nuevo",
            ),
            (Self::Denied, English) => (
                "You can't open this page",
                "Your account has no access to it. If you need it, contact support and give the number below.",
                "Use another account",
            ),
            (Self::Denied, Spanish) => (
                "No puede abrir esta página",
                "Su cuenta no tiene acceso a ella. Si lo necesita, llame a soporte y dé el número de abajo.",
                "Usar otra cuenta",
            ),
            (Self::Ended, English) => (
                "Your session has ended",
                "For your protection a session ends when it has not been used for a while. What you just sent was not saved. Sign in to go back to where you sent it from.",
                "Sign in",
            ),
            (Self::Ended, Spanish) => (
                "Su sesión ha terminado",
                "Para su protección, la sesión termina tras un tiempo sin uso. Lo que acaba de enviar no se ha guardado. Inicie sesión para volver a la página desde la que lo envió.",
                "Iniciar sesión",
            ),
            (Self::MoreProof, English) => (
                "This needs a stronger sign-in",
                "To protect your information, this page can be opened only after a stronger or more recent sign-in.",
                "",
            ),
            (Self::MoreProof, Spanish) => (
                "Se necesita una identificación más segura",
                "Para proteger su información, esta página solo se abre tras una identificación más segura o más reciente.",
                "",
            ),
            (Self::NotFound, English) => ("There is no such page", "Check the address, or go back.", ""),
            (Self::NotFound, Spanish) => ("No existe esa página", "Revise la dirección o vuelva atrás.", ""),
            (Self::TooMany, English) => {
                ("Too many requests", "Wait a moment, then try again. Nothing has been changed.", "Try again")
            }
            (Self::TooMany, Spanish) => (
                "Demasiadas solicitudes",
                "Espere un momento e inténtelo de nuevo. No se ha cambiado nada.",
                "Intentar de nuevo",
            ),
            (Self::Malformed, English) => (
                "This request can't be answered",
                "Go back and try again from the page you came from. Nothing has been changed.",
                "",
            ),
            (Self::Malformed, Spanish) => (
                "No se puede responder a esta solicitud",
                "Vuelva atrás e inténtelo desde la página anterior. No se ha cambiado nada.",
                "",
            ),
            (Self::Uncertain, English) => (
                "It is not certain that this was done",
                "What you sent was passed on, but no answer came back. Look whether it was done before you send it again. If you can't tell, contact support and give the number below.",
                "",
            ),
            (Self::Uncertain, Spanish) => (
                "No es seguro que se haya hecho",
                "Lo que envió se transmitió, pero no llegó respuesta. Compruebe si se hizo antes de enviarlo otra vez. Si no puede saberlo, llame a soporte y dé el número de abajo.",
                "",
            ),
            (Self::Outage, English) => (
                "This is not available at the moment",
                "This is a passing fault. Try again in a minute. Nothing has been changed.",
                "Try again",
            ),
            (Self::Outage, Spanish) => (
                "No está disponible en este momento",
                "Es un fallo pasajero. Inténtelo de nuevo en un minuto. No se ha cambiado nada.",
                "Intentar de nuevo",
            ),
            (Self::StepUp, English) => (
                "Please confirm that it is you",
                "To keep your information safe, {label} needs a fresh proof that it is you.",
                "",
            ),
            (Self::StepUp, Spanish) => (
                "Confirme que es usted",
                "Para proteger su información, {label} necesita una nueva prueba de que es usted.",
                "",
            ),
            (Self::NoWay, English) => (
                "You can't confirm this here",
                "To keep your information safe, {label} needs a stronger proof that it is you, and it can't be given here. Nothing was sent. Contact support and give the number below.",
                "",
            ),
            (Self::NoWay, Spanish) => (
                "No puede confirmarlo aquí",
                "Para proteger su información, {label} necesita una prueba más segura de que es usted, y aquí no se puede dar. No se envió nada. Llame a soporte y dé el número de abajo.",
                "",
            ),
            (Self::Confirm, English) => (
                "Please check",
                "This has not been sent yet. Look whether everything is right.",
                "Yes, do it",
            ),
            (Self::Confirm, Spanish) => (
                "Por favor, compruebe",
                "Esto todavía no se ha enviado. Mire si todo está bien.",
                "Sí, hacerlo",
            ),
            (Self::Waiting, English) => (
                "Look at your phone",
                "We asked on your phone about {label}. The code there must be the same as this one. If it is not, say no on the phone.",
                "I said yes on my phone",
            ),
            (Self::Waiting, Spanish) => (
                "Mire su teléfono",
                "Le preguntamos en su teléfono por {label}. El código de allí debe ser igual que este. Si no lo es, diga que no en el teléfono.",
                "Dije que sí en mi teléfono",
            ),
            (Self::Asked, English) => (
                "Look at your phone",
                "We asked on your phone about {label}. If it was not you who wanted this, say no on the phone.",
                "I said yes on my phone",
            ),
            (Self::Asked, Spanish) => (
                "Mire su teléfono",
                "Le preguntamos en su teléfono por {label}. Si no fue usted quien lo quiso, diga que no en el teléfono.",
                "Dije que sí en mi teléfono",
            ),
            (Self::Proven, English) => {
                ("Thank you, it is confirmed", "Close this window and go on in the other one.", "")
            }
            (Self::Proven, Spanish) => {
                ("Gracias, está confirmado", "Cierre esta ventana y siga en la otra.", "")
            }
            (Self::Sent, English) => (
                "It is done",
                "What you confirmed was sent and accepted. If the page before still shows the old state, load it again.",
                "Go back",
            ),
            (Self::Sent, Spanish) => (
                "Está hecho",
                "Lo que confirmó se envió y se aceptó. Si la página anterior muestra todavía lo de antes, vuelva a cargarla.",
                "Volver",
            ),
            (Self::NotAccepted, English) => (
                "It was not accepted",
                "What you confirmed was sent, but the service did not accept it. Look whether anything was changed before you try again. If you can't tell, contact support and give the number below.",
                "Go back",
            ),
            (Self::NotAccepted, Spanish) => (
                "No se aceptó",
                "Lo que confirmó se envió, pero el servicio no lo aceptó. Compruebe si algo cambió antes de intentarlo otra vez. Si no puede saberlo, llame a soporte y dé el número de abajo.",
                "Volver",
            ),
            (Self::AlreadySent, English) => (
                "This was confirmed before",
                "It is not sent a second time. Look whether it was done: if an error came after you confirmed it, it may not have been.",
                "Go back",
            ),
            (Self::AlreadySent, Spanish) => (
                "Esto ya se confirmó",
                "No se envía por segunda vez. Compruebe si se hizo: si después de confirmarlo apareció un error, puede que no.",
                "Volver",
            ),
            (Self::IntentGone, English) => (
                "What you filled in is no longer here",
                "It was too long ago, or you have signed out. If you had not confirmed it, nothing was sent: go back and fill it in again.",
                "Go back",
            ),
            (Self::IntentGone, Spanish) => (
                "Lo que rellenó ya no está aquí",
                "Pasó demasiado tiempo o se cerró la sesión. Si no lo había confirmado, no se envió nada: vuelva atrás y rellénelo otra vez.",
                "Volver",
            ),
            (Self::LinkGone, English) => (
                "Please begin once more",
                "The way to this page can be used once, and for a moment only. Nothing was sent. Go back and press the button there again.",
                "Go back",
            ),
            (Self::LinkGone, Spanish) => (
                "Empiece otra vez",
                "El camino a esta página se puede usar una sola vez y solo por un momento. No se envió nada. Vuelva y pulse otra vez el botón.",
                "Volver",
            ),
            (Self::OtherPerson, English) => (
                "Somebody else is signed in now",
                "This was filled in by another person, or before you signed in again, so it is not sent now. If it was you, look whether it was done before you fill it in again.",
                "Go back",
            ),
            (Self::OtherPerson, Spanish) => (
                "Ahora hay otra persona con la sesión abierta",
                "Esto lo rellenó otra persona, o usted antes de iniciar sesión de nuevo, así que ahora no se envía. Si fue usted, compruebe si se hizo antes de rellenarlo otra vez.",
                "Volver",
            ),
            (Self::ProofRefused, English) => (
                "It was not confirmed that it is you",
                "The answer was no, was not enough, or came too late. Nothing was sent.",
                "Try again",
            ),
            (Self::ProofRefused, Spanish) => (
                "No se confirmó que es usted",
                "La respuesta fue no, no fue suficiente o llegó tarde. No se envió nada.",
                "Intentar de nuevo",
            ),
            (Self::WayOutage, English) => (
                "This way does not work at the moment",
                "This is a passing fault. Nothing was sent. Try again in a minute.",
                "Try again",
            ),
            (Self::WayOutage, Spanish) => (
                "Esta manera no funciona en este momento",
                "Es un fallo pasajero. No se envió nada. Inténtelo de nuevo en un minuto.",
                "Intentar de nuevo",
            ),
            (Self::TooManyPrompts, English) => (
                "We have stopped asking your phone",
                "Your phone was asked too often without a yes. To keep you safe, we do not ask it again for a while. Nothing was sent. If it was not you who wanted this, contact support at once and give the number below.",
                "",
            ),
            (Self::TooManyPrompts, Spanish) => (
                "Dejamos de preguntar en su teléfono",
                "Se le preguntó demasiadas veces en su teléfono sin un sí. Para protegerle, no volvemos a preguntar durante un rato. No se envió nada. Si no fue usted quien quería esto, llame enseguida a soporte y dé el número de abajo.",
                "",
            ),
        };
        Text { title, body, action }
    }
}
