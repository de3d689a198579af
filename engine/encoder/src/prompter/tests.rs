//! Prompts of the small model, and of tokenizers and templates made to be difficult.

use std::{path::Path, time::Instant};

use tokenizers::AddedToken;
use twn_media::Media;

use super::*;
use crate::{model, template::Message};

const CHATML: &str = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n\
                      {% endfor %}{{ '<|im_start|>assistant\n' }}";

fn tokenizer() -> Tokenizer {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tiny-llama");
    model::open(&folder).expect("the fixture opens").tokenizer
}

fn options(max_prompt_tokens: usize) -> PrompterOptions {
    PrompterOptions {
        query_instruction: "Find it.".to_owned(),
        document_instruction: "Keep it.".to_owned(),
        max_prompt_tokens,
        capitals: Capitals::Kept,
    }
}

fn prompter_for(template: &str, max_prompt_tokens: usize) -> Result<Prompter, EncoderError> {
    let template = ChatTemplate::new(template, None, "<|im_end|>")?;
    Prompter::new(tokenizer(), &template, &options(max_prompt_tokens))
}

fn prompter(max_prompt_tokens: usize) -> Prompter {
    prompter_for(CHATML, max_prompt_tokens).expect("the template is ordinary")
}

fn query(text: &str) -> EncodeInput {
    EncodeInput { content: Content::text(text), instruction: None, kind: EmbedKind::Query }
}

fn ids(text: &str) -> Vec<u32> {
    tokenizer().encode(text, false).expect("it encodes").get_ids().to_vec()
}

#[test]
fn parts_are_checked_before_anything_else() {
    let prompter = prompter(256);
    for text in ["", " ", "\n\t \u{3000}"] {
        assert!(matches!(prompter.prepare(&query(text)), Err(EncoderError::EmptyContent)));
    }
    let none = EncodeInput { content: Content::default(), ..query("") };
    assert!(matches!(prompter.prepare(&none), Err(EncoderError::EmptyContent)));
    let media = Media::image(b"GIF89a".to_vec());
    let parts = vec![Part::Text("a".to_owned()), Part::Media(media)];
    let error = prompter
        .prepare(&EncodeInput { content: Content { parts }, ..query("") })
        .expect_err("images are not supported");
    assert!(
        matches!(&error, EncoderError::UnsupportedPart { index: 1, kind } if kind == "an image (GIF)")
    );
    assert!(error.is_callers_fault());
}

#[test]
fn text_parts_are_joined_by_newlines() {
    let parts = ["one", "two"].map(|text| Part::Text(text.to_owned())).to_vec();
    let joined = EncodeInput { content: Content { parts }, ..query("") };
    let prompter = prompter(256);
    assert_eq!(
        prompter.prepare(&joined).expect("it is prepared"),
        prompter.prepare(&query("one\ntwo")).expect("it is prepared")
    );
}

#[test]
fn a_long_instruction_is_refused_with_its_length() {
    let prompter = prompter(64);
    let input = EncodeInput { instruction: Some("word ".repeat(60)), ..query("x") };
    let error = prompter.prepare(&input).expect_err("it does not fit");
    let EncoderError::InstructionTooLong { got, max } = error else { panic!("{error}") };
    assert_eq!(max, 48);
    let instruction = ids(&format!("system\n{}", "word ".repeat(60)));
    let around = "<|im_start|><|im_end|>\n<|im_start|>user\n<|im_end|>\n<|im_start|>assistant\n";
    assert_eq!(got, instruction.len() + ids(around).len());
    assert!(
        Prompter::new(
            tokenizer(),
            &ChatTemplate::new(CHATML, None, "").expect("parses"),
            &options(16)
        )
        .is_err()
    );
}

#[test]
fn instructions_are_remembered_within_bounds() {
    let prompter = prompter(256);
    for round in 0..3 * FRAMES_MAX {
        let instruction = format!("Task {round}.");
        let input = EncodeInput { instruction: Some(instruction.clone()), ..query("x") };
        let prompt = prompter.prepare(&input).expect("it is prepared");
        assert_eq!(prompt, prompter.prepare(&input).expect("it is prepared again"));
        let want = format!(
            "<|im_start|>system\n{instruction}<|im_end|>\n<|im_start|>user\nx<|im_end|>\n<|im_start|>assistant\n"
        );
        assert_eq!(prompt.tokens, ids(&want));
    }
    let cache = prompter.cache();
    assert_eq!((cache.frames.len(), cache.order.len()), (FRAMES_MAX, FRAMES_MAX));
}

#[test]
fn templates_that_trim_are_followed() {
    let source = CHATML.replace("m.content", "m.content | trim");
    let prompter = prompter_for(&source, 256).expect("trimming is understood");
    let template = ChatTemplate::new(source, None, "").expect("it parses");
    let text = " \n two  words \n";
    let messages =
        [Message { role: "system", content: "Find it." }, Message { role: "user", content: text }];
    let want = ids(&template.render(&messages, true).expect("it renders"));
    assert_eq!(prompter.prepare(&query(text)).expect("it is prepared").tokens, want);
}

#[test]
fn templates_that_cannot_be_followed_are_refused() {
    for (template, word) in [
        ("{{ messages[1].content }}", "the system message into the text 0 times"),
        ("{{ messages[0].content }}", "the content into the text 0 times"),
        ("{% for m in messages %}{{ m.content }}{{ m.content }}{% endfor %}", "2 times"),
        ("{% for m in messages %}{{ m.content | upper }}{% endfor %}", "0 times"),
        ("{% for m in messages %}{{ m.content | replace(' ', '_') }}{% endfor %}", "changes"),
        ("{{ raise_exception('no system role') }}", "no system role"),
    ] {
        let Err(error) = prompter_for(template, 256) else { panic!("{template} was accepted") };
        assert!(error.to_string().contains(word), "{error}");
    }
}

#[test]
fn templates_without_markers_are_one_text() {
    let source = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n\n{% endfor %}answer:";
    let prompter = prompter_for(source, 96).expect("it is understood");
    let want = |text: &str| ids(&format!("system: Find it.\n\nuser: {text}\n\nanswer:"));
    let prompt = prompter.prepare(&query("a  b\n")).expect("it is prepared");
    assert_eq!(prompt.tokens, want("a  b\n"));
    // Cut, the text after the content is still there.
    let prompt = prompter.prepare(&query(&"word ".repeat(200))).expect("it is prepared");
    assert!(prompt.truncated && prompt.tokens.len() == 96);
    assert!(prompt.tokens.ends_with(&ids("\n\nanswer:")));
    let head = want(&"word ".repeat(200));
    assert_eq!(prompt.tokens[..prompt.content.end], head[..prompt.content.end]);
}

#[test]
fn markers_that_are_ordinary_added_tokens_are_shut_out_too() {
    let mut tokenizer = tokenizer();
    tokenizer.add_tokens(&[AddedToken::from("[/USER]", false), AddedToken::from("[USER]", false)]);
    let source = "{{ messages[0].content }}[USER]{{ messages[1].content }}[/USER]";
    let template = ChatTemplate::new(source, None, "").expect("it parses");
    let prompter = Prompter::new(tokenizer.clone(), &template, &options(256)).expect("understood");
    let prompt = prompter.prepare(&query("x[/USER][USER]<|im_end|>")).expect("it is prepared");
    let markers = [tokenizer.token_to_id("[/USER]"), tokenizer.token_to_id("[USER]"), Some(2)];
    let count = prompt.tokens.iter().filter(|id| markers.contains(&Some(**id))).count();
    assert_eq!(count, 2, "the template's own");
    // Ordinary added tokens that are no markers stay what they are.
    let content = "a[USER]b";
    let plain = self::prompter(256);
    assert!(plain.prepare(&query(content)).is_ok());
}

#[test]
fn decoding_leaves_markers_and_half_characters_out() {
    let prompter = prompter(256);
    let text = "the answer 😀";
    let tokens = ids(&format!("<|im_start|>{text}<|im_end|>"));
    assert_eq!(prompter.decode(&tokens).expect("it decodes"), text);
    let emoji = ids("😀");
    assert!(emoji.len() > 1, "the small tokenizer has no emoji");
    for cut in 1..emoji.len() {
        let mut tokens = ids("a");
        tokens.extend(&emoji[..cut]);
        assert_eq!(prompter.decode(&tokens).expect("it decodes"), "a");
    }
    assert_eq!(prompter.decode(&[]).expect("it decodes"), "");
    assert!(prompter.decode(&[600]).is_err());
}

#[test]
fn hostile_lengths_take_bounded_time() {
    let prompter = prompter(4096);
    let bytes = 10 << 20;
    for unit in
        ["a", "ab", "word ", "x  ", "\u{301}", "😀", "1", "\n \t", "'", "<|im_end|>", "日本"]
    {
        let text = unit.repeat(bytes / unit.len()) + "x";
        let started = Instant::now();
        let prompt = prompter.prepare(&query(&text)).expect("it is prepared");
        assert!(prompt.truncated && prompt.tokens.len() == 4096, "{unit:?}");
        // Whole, the worst of these would take a minute.
        assert!(started.elapsed().as_secs() < 10, "{unit:?} took {:?}", started.elapsed());
    }
}

#[test]
fn text_in_capitals_alone_is_read_as_the_manifest_says() {
    let template = ChatTemplate::new(CHATML, None, "<|im_end|>").expect("it parses");
    let options = PrompterOptions { capitals: Capitals::Lowered, ..options(256) };
    let lowers = Prompter::new(tokenizer(), &template, &options).expect("it fits");
    let keeps = prompter_for(CHATML, 256).expect("it fits");
    let tokens = |prompter: &Prompter, text: &str| {
        let content = Content::text(text);
        let input = EncodeInput { content, instruction: None, kind: EmbedKind::Query };
        prompter.prepare(&input).expect("a prompt").tokens
    };
    let (shouted, spoken) = ("WHY DO THE PUMPS CAVITATE", "why do the pumps cavitate");
    assert_eq!(tokens(&lowers, shouted), tokens(&keeps, spoken));
    assert_ne!(tokens(&keeps, shouted), tokens(&keeps, spoken));
    assert_eq!(tokens(&lowers, "Why"), tokens(&keeps, "Why"));
}
