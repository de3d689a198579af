//! The tokenizer of a GGUF file: byte-level BPE, rebuilt from the vocabulary and merges.

use tokenizers::{
    AddedToken, Tokenizer,
    models::bpe::{BPE, Vocab},
    pre_tokenizers::byte_level::ByteLevel,
    processors::template::TemplateProcessing,
};

use super::{cursor::Problem, gguf::Header};

/// What `tokenizer.ggml.token_type` says of a token that steers the model.
const CONTROL: i32 = 3;
/// What it says of an added token that is ordinary text.
const USER_DEFINED: i32 = 4;

/// The special tokens that a GGUF file names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SpecialTokens {
    /// Beginning of sequence.
    pub(super) bos: Option<String>,
    /// End of turn, which ends decoding.
    pub(super) eos: String,
    /// Every id that ends decoding.
    pub(super) eos_ids: Vec<u32>,
}

/// Rebuilds the tokenizer of a parsed file.
pub(super) fn read(header: &Header, file: &[u8]) -> Result<(Tokenizer, SpecialTokens), Problem> {
    check_kind(header)?;
    let tokens = header.strings("tokenizer.ggml.tokens", file)?;
    let special = special_tokens(header, &tokens)?;
    let mut tokenizer = Tokenizer::new(byte_pairs(header, file, &tokens)?);
    // `smollm` stands for digits split one by one, then GPT-2's pattern. The vocabulary joins no
    // two ASCII digits, so the pattern alone gives the same ids except for digits behind several
    // spaces and for some numerals of other scripts. transformers takes the pattern alone when it
    // reads a GGUF file; ids must be its ids, and the golden file of the tests has both.
    let byte_level = ByteLevel::new(false, true, true);
    tokenizer.with_pre_tokenizer(Some(byte_level)).with_decoder(Some(byte_level));
    add_special(&mut tokenizer, header, file, &tokens)?;
    if header.boolean("tokenizer.ggml.add_bos_token")? == Some(true) {
        let bos = special.bos.as_deref().ok_or("wants a beginning-of-sequence token, has none")?;
        let begin = begin_with(bos, &tokenizer)?;
        tokenizer.with_post_processor(Some(begin));
    }
    Ok((tokenizer, special))
}

fn check_kind(header: &Header) -> Result<(), Problem> {
    let model = header.text("tokenizer.ggml.model")?.unwrap_or("(none)");
    if model != "gpt2" {
        return Err(format!("has a tokenizer of kind `{model}`; supported: gpt2 (byte-level BPE)"));
    }
    let pattern = header.text("tokenizer.ggml.pre")?.unwrap_or("(none)");
    if !["smollm", "gpt-2", "gpt2"].contains(&pattern) {
        return Err(format!("splits text by the pattern `{pattern}`; supported: smollm, gpt-2"));
    }
    Ok(())
}

fn byte_pairs(header: &Header, file: &[u8], tokens: &[&str]) -> Result<BPE, Problem> {
    let vocabulary: Vocab =
        tokens.iter().zip(0u32..).map(|(token, id)| ((*token).to_owned(), id)).collect();
    if vocabulary.len() != tokens.len() {
        return Err("has a token twice in its vocabulary".to_owned());
    }
    let merges = header
        .strings("tokenizer.ggml.merges", file)?
        .into_iter()
        .map(|merge| match merge.split_once(' ') {
            Some((left, right)) if !left.is_empty() && !right.is_empty() => {
                Ok((left.to_owned(), right.to_owned()))
            }
            _ => Err(format!("has an impossible merge `{merge}`")),
        })
        .collect::<Result<Vec<_>, _>>()?;
    BPE::builder()
        .vocab_and_merges(vocabulary, merges)
        .build()
        .map_err(|error| format!("has a tokenizer that cannot be built: {error}"))
}

fn add_special(
    tokenizer: &mut Tokenizer,
    header: &Header,
    file: &[u8],
    tokens: &[&str],
) -> Result<(), Problem> {
    let types = header.integers("tokenizer.ggml.token_type", file)?;
    if types.len() != tokens.len() {
        return Err(format!("has {} token types for {} tokens", types.len(), tokens.len()));
    }
    let of_type = |wanted: i32, is_special: bool| -> Vec<AddedToken> {
        let chosen = tokens.iter().zip(&types).filter(|(_, kind)| **kind == wanted);
        chosen.map(|(token, _)| AddedToken::from(*token, is_special).normalized(false)).collect()
    };
    tokenizer.add_special_tokens(&of_type(CONTROL, true));
    tokenizer.add_tokens(&of_type(USER_DEFINED, false));
    Ok(())
}

fn special_tokens(header: &Header, tokens: &[&str]) -> Result<SpecialTokens, Problem> {
    let id_of = |key: &str| -> Result<Option<u32>, Problem> {
        let key = format!("tokenizer.ggml.{key}");
        match header.unsigned(&key)? {
            Some(id) if id as usize >= tokens.len() => {
                Err(format!("`{key}` is {id}, the vocabulary has {} tokens", tokens.len()))
            }
            id => Ok(id),
        }
    };
    let eos = id_of("eos_token_id")?.ok_or("lacks `tokenizer.ggml.eos_token_id`")?;
    let mut eos_ids = vec![eos];
    if let Some(end_of_turn) = id_of("eot_token_id")?
        && end_of_turn != eos
    {
        eos_ids.push(end_of_turn);
    }
    let text = |id: u32| tokens[id as usize].to_owned();
    Ok(SpecialTokens { bos: id_of("bos_token_id")?.map(text), eos: text(eos), eos_ids })
}

/// Makes the tokenizer begin every text with a token.
fn begin_with(token: &str, tokenizer: &Tokenizer) -> Result<TemplateProcessing, Problem> {
    let id = tokenizer.token_to_id(token).ok_or_else(|| format!("`{token}` is no token"))?;
    let cannot = |error: &dyn std::fmt::Display| format!("cannot begin with `{token}`: {error}");
    TemplateProcessing::builder()
        .try_single(vec![token.to_owned(), "$A".to_owned()])
        .map_err(|error| cannot(&error))?
        .special_tokens(vec![(token.to_owned(), id)])
        .build()
        .map_err(|error| cannot(&error))
}
