//! The words that pages share, in each language.

use super::language::Language::{self, English, Spanish};

/// What stands around a page's own words.
pub struct Words {
    /// Before the decision's id.
    pub reference: &'static str,
    /// An action that has no name, within a sentence.
    pub this: &'static str,
    /// The way to confirm that leads to where one signs in, where it has no other name.
    pub sign_in_again: &'static str,
    /// Above the other ways to confirm.
    pub others: &'static str,
    /// For those who don't want what is to be confirmed.
    pub no: &'static str,
    /// For those who don't wait any longer.
    pub stop: &'static str,
    /// What was sent is kept.
    pub kept: &'static str,
    /// It is not.
    pub lost: &'static str,
    /// How long an answer takes; `{seconds}` is how many.
    pub patience: &'static str,
    /// Whose session it is.
    pub account: &'static str,
    /// In the place of what can't be shown.
    pub unread: &'static str,
    /// In the place of a secret.
    pub hidden: &'static str,
    /// In the place of a value that is empty.
    pub empty: &'static str,
    /// In the place of a name that is empty.
    pub nameless: &'static str,
    /// What is not listed; `{count}` is how much.
    pub more: &'static str,
    /// Above the way to break the glass.
    pub emergency: &'static str,
    /// That way.
    pub break_glass: &'static str,
    /// Before the reasons.
    pub code: &'static str,
    /// Before one's own words.
    pub own_words: &'static str,
    /// How long those must be; `{count}` is how many characters.
    pub hint: &'static str,
    /// Before a code that was handed out.
    pub offline_code: &'static str,
    /// What that is.
    pub offline_hint: &'static str,
    /// What was given is not enough.
    pub incomplete: &'static str,
    /// Above the ways to end what somebody may do for a patient.
    pub end_access: &'static str,
    /// How long somebody may; `{relation}` and `{date}`.
    pub acts_until: &'static str,
    /// Somebody may again once it was looked at.
    pub waits: &'static str,
    /// What stands between a whole number and its tenths.
    pub decimal: char,
}

/// The words of a language.
pub const fn words(language: Language) -> &'static Words {
    match language {
        English => &Words {
            reference: "Number for support:",
            this: "this",
            sign_in_again: "Sign in again",
            others: "Another way to confirm",
            no: "No, go back",
            stop: "Stop and go back",
            kept: "What you sent is kept for a few minutes. We ask you once more before it is sent.",
            lost: "What you sent could not be kept. After this you will have to fill it in again.",
            patience: "After you say yes on the phone, it can take {seconds} seconds until we know. If you come back to this page, wait a moment and press again.",
            account: "You are signed in as {account}.",
            unread: "What you filled in can't be shown here. Go on only if you have just sent it yourself.",
            hidden: "not shown",
            empty: "empty",
            nameless: "without a name",
            more: "And {count} more that are not shown here.",
            emergency: "In an emergency",
            break_glass: "Open this record anyway",
            code: "Reason",
            own_words: "Why, in your own words",
            hint: "At least {count} characters. Only the person who reviews it reads this.",
            offline_code: "Emergency code",
            offline_hint: "Nobody can be signed in again at the moment. Enter a code that was handed out for this; it counts once.",
            incomplete: "Please choose a reason, and write a little more.",
            end_access: "End the access of",
            acts_until: "{relation}, until {date}",
            waits: "{relation}, stopped until the clinic has looked at it again",
            decimal: '.',
        },
        Spanish => &Words {
            reference: "Número para soporte:",
            this: "esto",
            sign_in_again: "Iniciar sesión de nuevo",
            others: "Otra manera de confirmar",
            no: "No, volver",
            stop: "Dejarlo y volver",
            kept: "Lo que envió se guarda unos minutos. Le preguntamos otra vez antes de enviarlo.",
            lost: "Lo que envió no se pudo guardar. Después tendrá que rellenarlo otra vez.",
            patience: "Después de decir que sí en el teléfono, pueden pasar {seconds} segundos hasta que lo sepamos. Si vuelve a ver esta página, espere un momento y pulse otra vez.",
            account: "Ha iniciado sesión como {account}.",
            unread: "Lo que rellenó no se puede mostrar aquí. Siga solo si lo acaba de enviar usted.",
            hidden: "no se muestra",
            empty: "vacío",
            nameless: "sin nombre",
            more: "Y {count} más que no se muestran aquí.",
            emergency: "En una emergencia",
            break_glass: "Abrir este expediente de todos modos",
            code: "Motivo",
            own_words: "Por qué, con sus propias palabras",
            hint: "Al menos {count} caracteres. Solo lo lee la persona que lo revisa.",
            offline_code: "Código de emergencia",
            offline_hint: "De momento no es posible volver a iniciar sesión. Escriba un código entregado para esto; vale una sola vez.",
            incomplete: "Elija un motivo y escriba un poco más.",
            end_access: "Terminar el acceso de",
            acts_until: "{relation}, hasta {date}",
            waits: "{relation}, detenido hasta que la clínica lo revise de nuevo",
            decimal: ',',
        },
    }
}
