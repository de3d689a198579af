//! The chat template: Jinja as transformers evaluates it.

use minijinja::{Environment, Error, ErrorKind, Value, context};
use serde::Serialize;

use crate::error::EncoderError;

/// The one template of the environment. Without a file ending nothing is escaped.
const NAME: &str = "chat";

/// One turn of a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Message<'a> {
    /// `system`, `user` or `assistant`.
    pub role: &'a str,
    /// What was said.
    pub content: &'a str,
}

/// A parsed chat template with the model's special tokens.
#[derive(Debug)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    bos_token: Option<String>,
    eos_token: String,
}

impl ChatTemplate {
    /// Parses a template's source.
    ///
    /// # Errors
    /// Fails when the source is no Jinja template.
    pub fn new(
        source: impl Into<String>,
        bos_token: Option<String>,
        eos_token: impl Into<String>,
    ) -> Result<Self, EncoderError> {
        let mut environment = Environment::new();
        // As transformers sets up Jinja: a block's own line leaves no trace in the text.
        environment.set_trim_blocks(true);
        environment.set_lstrip_blocks(true);
        environment
            .set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_function("raise_exception", |message: String| -> Result<Value, Error> {
            Err(Error::new(ErrorKind::InvalidOperation, message))
        });
        environment.add_template_owned(NAME, source.into()).map_err(|error| refused(&error))?;
        Ok(Self { environment, bos_token, eos_token: eos_token.into() })
    }

    /// Renders a conversation, and with `add_generation_prompt` the opening of the answer.
    ///
    /// # Errors
    /// Fails when the template refuses the conversation or uses what is not there.
    pub fn render(
        &self,
        messages: &[Message<'_>],
        add_generation_prompt: bool,
    ) -> Result<String, EncoderError> {
        self.render_json(messages, add_generation_prompt)
    }

    /// Renders messages of any form, such as those whose content is a list of parts.
    pub(crate) fn render_json(
        &self,
        messages: &(impl Serialize + ?Sized),
        add_generation_prompt: bool,
    ) -> Result<String, EncoderError> {
        let messages = Value::from_serialize(messages);
        let nothing = Value::from(());
        let base = context! {
            messages,
            add_generation_prompt,
            eos_token => self.eos_token,
            tools => nothing,
            documents => nothing,
        };
        let context = match &self.bos_token {
            Some(bos_token) => context! { bos_token, ..base },
            None => base,
        };
        let template = self.environment.get_template(NAME).map_err(|error| refused(&error))?;
        template.render(context).map_err(|error| refused(&error))
    }
}

fn refused(error: &Error) -> EncoderError {
    EncoderError::Option { option: "chat_template", problem: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_can_refuse_a_conversation() {
        let source =
            "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}";
        let template = ChatTemplate::new(source, None, "</s>").expect("it parses");
        let user = Message { role: "user", content: "hi" };
        assert_eq!(template.render(&[user], true).expect("it is accepted"), "");
        let system = Message { role: "system", content: "hi" };
        let error = template.render(&[system], true).expect_err("it is refused");
        assert!(error.to_string().contains("no system"), "{error}");
    }

    #[test]
    fn a_broken_template_is_an_error() {
        assert!(ChatTemplate::new("{% for %}", None, "</s>").is_err());
    }

    #[test]
    fn content_is_never_evaluated() {
        let template =
            ChatTemplate::new("{{ messages[0].content }}", None, "</s>").expect("parses");
        let content = "{{ 1 + 1 }} {% raw %} <b>&";
        let text = template.render(&[Message { role: "user", content }], false).expect("renders");
        assert_eq!(text, content);
    }
}
