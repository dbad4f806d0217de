//! What the pages say, in plain words, in each language.

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
}

/// A page's words.
pub struct Text {
    pub title: &'static str,
    pub body: &'static str,
    /// What its button says, where it has one.
    pub action: &'static str,
}

impl Says {
    /// The status of a page that nothing else chooses one for.
    pub const fn status(self) -> u16 {
        match self {
            Self::Chooser | Self::ConfirmSignOut | Self::SignedOut => 200,
            Self::Expired | Self::Malformed => 400,
            Self::MoreProof | Self::Ended => 401,
            Self::Failed | Self::Denied => 403,
            Self::NotFound => 404,
            Self::TooMany => 429,
            Self::Outage => 503,
            Self::Uncertain => 502,
        }
    }

    /// The words. There is no catch-all, so that no page lacks a language.
    pub const fn text(self, language: Language) -> Text {
        let (title, body, action) = match (self, language) {
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
        };
        Text { title, body, action }
    }
}

/// What stands before the decision's id.
pub const fn reference(language: Language) -> &'static str {
    match language {
        English => "Number for support:",
        Spanish => "Número para soporte:",
    }
}
