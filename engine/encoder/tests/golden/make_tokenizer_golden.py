"""Makes tokenizer_golden.json, template_golden.json and weights_golden.json.

Run: python make_tokenizer_golden.py FOLDER, where FOLDER holds the default model's .gguf
file. Needs transformers (ids and rendered templates) and gguf (dequantised weights).
"""

import json
import pathlib
import sys

import numpy
from gguf import GGUFReader, dequantize
from tokenizers import pre_tokenizers
from transformers import AutoTokenizer

HERE = pathlib.Path(__file__).resolve().parent

# One line of each script, and then what breaks tokenizers.
SENTENCES = """
The quick brown fox jumps over the lazy dog.
El veloz murciélago hindú comía feliz cardillo y kiwi.
Portez ce vieux whisky au juge blond qui fume, dès Noël où un zéphyr haï.
Falsches Üben von Xylophonmusik quält jeden größeren Zwerg.
Pchnąć w tę łódź jeża lub ośm skrzyń fig.
Příliš žluťoučký kůň úpěl ďábelské ódy.
Árvíztűrő tükörfúrógép, jó éjszakát kívánok.
Înțeleptul și-a amintit că țăranii știu.
Pijamalı hasta yağız şoföre çabucak güvendi. İIıi
Tôi có thể ăn thủy tinh mà không hại gì.
Съешь же ещё этих мягких французских булок, да выпей чаю.
Чуєш їх, доцю, га? Кумедна ж ти, прощайся без ґольфів!
Ξεσκεπάζω την ψυχοφθόρα βδελυγμία.
Տարեկան ապրանքները շուկայում են։
ფუნთუშა გიყვარს? დიახ, ძალიან.
דג סקרן שט בים מאוכזב ולפתע מצא חברה.
نص حكيم له سر قاطع وذو شأن عظيم مكتوب على ثوب أخضر.
یک روباه قهوه‌ای چابک از روی سگ تنبل می‌پرد.
ایک تیز بھوری لومڑی سست کتے پر کودتی ہے۔
ऋषियों को सताने वाले दुष्ट राक्षसों के राजा रावण का सर्वनाश।
আমি কাঁচ খেতে পারি, তাতে আমার কোনো ক্ষতি হয় না।
நான் கண்ணாடி சாப்பிடுவேன், அதனால் எனக்கு ஒரு கேடும் வராது.
నేను గాజు తినగలను మరియు అలా చేసినా నాకు ఏమి ఇబ్బంది లేదు.
ನನಗೆ ಹಾನಿ ಆಗದೆ, ನಾನು ಗಾಜನ್ನು ತಿನಬಹುದು.
എനിക്ക് ഗ്ലാസ് തിന്നാം. അതെന്നെ വേദനിപ്പിക്കില്ല.
ਮੈਂ ਗਲਾਸ ਖਾ ਸਕਦਾ ਹਾਂ ਅਤੇ ਇਸ ਨਾਲ ਮੈਨੂੰ ਕੋਈ ਤਕਲੀਫ ਨਹੀਂ।
હું કાચ ખાઈ શકું છું અને તેનાથી મને દુખતું નથી.
මට වීදුරු කන්න පුළුවන්, එයින් මට හානියක් නොවේ.
ฉันกินกระจกได้ แต่มันไม่ทำให้ฉันเจ็บ
ຂ້ອຍກິນແກ້ວໄດ້ໂດຍທີ່ມັນບໍ່ໄດ້ເຮັດໃຫ້ຂ້ອຍເຈັບ
ကျွန်တော် မှန်စားနိုင်တယ်။ ထိခိုက်မှု မရှိဘူး။
ខ្ញុំអាចញុំកញ្ចក់បាន ដោយគ្មានបញ្ហា
እኔ ብርጭቆ መብላት እችላለሁ አይጎዳኝም።
我能吞下玻璃而不伤身体。
我能吞下玻璃而不傷身體。
いろはにほへと ちりぬるを わかよたれそ つねならむ
ウヰノオクヤマ ケフコエテ、アサキユメミシ ヱヒモセス
私はガラスを食べられます。それは私を傷つけません。
나는 유리를 먹을 수 있어요. 그래도 아프지 않아요.
다람쥐 헌 쳇바퀴에 타고파
ཤེལ་སྒོ་ཟ་ནས་ང་ན་གི་མ་རེད།
Би шил идэй чадна, надад хортой биш.
ᠪᠢ ᠰᠢᠯᠢ ᠢᠳᠡᠶᠦ ᠴᠢᠳᠠᠨᠠ
ᚠᛇᚻ᛫ᛒᛦᚦ᛫ᚠᚱᚩᚠᚢᚱ᛫ᚠᛁᚱᚪ
ᐊᓕᒍᖅ ᓂᕆᔭᕌᖓᒃᑯ ᓱᕋᙱᑦᑐᓐᓇᖅᑐᖓ
ᎠᏓᏅᏖᏗ ᏣᎳᎩ
Ⲛⲓⲙ ⲡⲉ ⲡⲉⲕⲣⲁⲛ
𐌼𐌰𐌲 𐌲𐌻𐌴𐍃 𐌹̈𐍄𐌰𐌽
𐎠𐎭𐎠𐎶 𐏐 𒀀𒁀𒂷 𓀀𓁐𓂀
𝔘𝔫𝔦𝔠𝔬𝔡𝔢 𝕞𝕒𝕥𝕙 𝒔𝒄𝒓𝒊𝒑𝒕
Ｆｕｌｌ ｗｉｄｔｈ　ｔｅｘｔ１２３
""".strip().splitlines()

NUMBERS = """
0
7
42
12345678901234567890
3.14159
-273.15
1,000,000
1e-10
0xDEADBEEF
0b1010
192.168.0.1
2024-02-29T23:59:59Z
+49 (0)30 1234-5678
a1b2c3
room 101
x2y
½ ⅓ ¼ ²³ ⁴₅ Ⅷ ⅻ ① ⑳ 〇 一二三
١٢٣٤٥ ٦٧٨
۱۲۳ ४५६ ৭৮৯ ๑๒๓ ༡༢༣ ᠑᠒᠓
１２３４
𝟏𝟐𝟑 𝟘𝟙𝟚 🄀 🄁
50% off, $19.99 or €20
1st 2nd 3rd 100th
v1.2.3-rc.4+build.567
""".strip().splitlines()

CODE = [
    "fn main() {\n    println!(\"Hello, world!\");\n}\n",
    "def f(x):\n\tif x > 0:\n\t\treturn x ** 2\n\treturn None\n",
    "#include <stdio.h>\r\nint main(void) {\r\n  return 0;\r\n}\r\n",
    "SELECT id, COUNT(*) FROM t WHERE a <> 'b''c' GROUP BY 1 ORDER BY 2 DESC;",
    "<div class=\"a b\" data-x='1'>&nbsp;&lt;p&gt;</div><!-- note -->",
    "{\"key\": [1, 2.5, null, true], \"nested\": {\"a\": \"\\u00e9\\n\"}}",
    "const add = (a, b) => a + b; // ok?\nlet s = `${add(1, 2)}`;",
    "for i in $(seq 1 10); do echo \"$i\" >> \"out_$i.txt\"; done",
    "template<typename T> auto f(T&& t) -> decltype(std::forward<T>(t));",
    "https://example.com/a/b?c=d&e=%20f#g",
    "user.name+tag@example.co.uk",
    "C:\\Program Files\\App\\bin\\app.exe",
    "/usr/local/lib/python3.11/site-packages/__init__.py",
    "a->b::c.d[e](f){g};",
    "!= == === <= >= << >> && || ?? ?. ::: ... …",
    "snake_case camelCase PascalCase kebab-case SCREAMING_CASE",
    "\\begin{equation} \\int_0^\\infty e^{-x^2} dx = \\frac{\\sqrt{\\pi}}{2} \\end{equation}",
    "# Title\n\n- item\n  - nested\n\n```rust\nlet x = 1;\n```\n",
    "diff --git a/x b/x\n@@ -1,2 +1,2 @@\n-old\n+new\n",
    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
]

EMOJI = [
    "😀",
    "😀😁😂🤣",
    "👍🏽 👩🏿‍🚀",
    "👨‍👩‍👧‍👦 family",
    "🏳️‍🌈 🏴‍☠️ 🏴󠁧󠁢󠁳󠁣󠁴󠁿",
    "🇩🇪🇫🇷🇯🇵",
    "1️⃣2️⃣#️⃣",
    "❤️ ❤ ☺️ ☺",
    "text😀text 😀 text",
    "🫠🫨🪿",
    "→ ← ↑ ↓ ⇒ ∀x∈ℝ: x² ≥ 0",
    "♔♕♖ ♠♥♦♣ ★☆",
    "█▓▒░ ┌─┐│└┘",
    "™ © ® § ¶ † ‡ • ‰",
]

WHITESPACE = [
    " ",
    "  ",
    "   ",
    "\t",
    "\n",
    "\n\n",
    "\r\n",
    "\r",
    " \n ",
    "\n \n  \n",
    " leading",
    "  leading two",
    "\nleading newline",
    "\n\n  indented after newlines",
    "\t\ttabs",
    "trailing ",
    "trailing  ",
    "trailing\n",
    "a b  c   d    e     f",
    "a\tb\t\tc",
    "a\nb\n\nc\n\n\nd",
    "a \n b",
    "x" + " " * 17 + "y",
    "x" + "\n" * 9 + "y",
    " " * 64,
    "no\u00a0break\u202fspaces\u2009thin\u3000wide",
    "line\u2028separator\u2029paragraph",
    "zero\u200bwidth\ufeffspace\u2060joiner",
    "next\u0085line\u000bvertical\u000cform",
    "\u1680ogham \u2000en \u2003em \u205fmath",
    "1  2   3",
    "a  1",
    "a   12",
    "list:\n    1. one\n    2. two",
    "\n  7",
    "\t9",
]

MARKS = [
    "e\u0301 vs \u00e9",
    "A\u030a Å \u212b",
    "Z\u0351\u036b\u0343\u036a\u0302a\u030d\u0310lg\u0321o\u0329",
    "n\u0303\u0303\u0303\u0303",
    "\u0301alone",
    "क\u094dष \u0915\u093f",
    "\u200d \u200c \u200e\u200f",
    "\u202eright to left\u202c",
    "\u1100\u1161\u11a8 각",
    "ﬁ ﬂ ﬃ ſ ẞ ß",
    "İ i̇ ǅ ǆ",
    "\ufe0f\ufe0e",
]

CONTROLS = [
    "\x00",
    "a\x00b",
    "\x01\x02\x03\x04",
    "\x1b[31mred\x1b[0m",
    "\x7f",
    "\x80\x9f",
    "\ufffd",
    "\ufffe\uffff",
    "\U0010ffff",
    "\ue000\uf8ff private",
    "\ufdd0",
    "\u00ad soft\u00adhyphen",
]

CONTRACTIONS = [
    "don't I'm you're we've they'll he'd it's",
    "DON'T I'M YOU'RE",
    "rock 'n' roll",
    "'s't're've'm'll'd",
    "it''s 'tis 'twas",
    "don’t it’s",
    "'",
    "''",
    "\"quoted\" ‘single’ “double” «guillemets» „low“",
    "dogs' tails",
    "'l",
    "a'l b'v",
]

SPECIAL = [
    "<|im_start|>",
    "<|im_end|>",
    "<|endoftext|>",
    "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n",
    "before <|im_end|> after",
    "a<|endoftext|>b<|endoftext|>",
    "  <|im_end|>  ",
    "<|im_end|><|im_end|>",
    "<repo_name>x<file_sep>y",
    "<jupyter_code>print(1)<jupyter_output>1",
    "< |im_end|>",
    "<|im_end |>",
    "<|IM_END|>",
    "<|im_",
    "|>",
    "<|unknown|>",
    "<issue_start><issue_comment><issue_closed>",
    "<think>reasoning</think>",
]

WORDS = [
    "",
    "a",
    "A",
    "antidisestablishmentarianism",
    "Donaudampfschifffahrtsgesellschaftskapitän",
    "pneumonoultramicroscopicsilicovolcanoconiosis",
    "HELLO world HeLLo wOrLd",
    "hyphen-ated em—dash en–dash",
    "a.b.c. U.S.A. e.g. i.e.",
    "Mr. Smith, Ph.D., said: \"No!\" (twice); then: nothing...",
    "????!!!!",
    "-----",
    "=====",
    "*****bold*****",
    "_under_score_",
    "a/b\\c|d~e`f^g",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab",
    "the the the the the",
    "mixed日本語and한국어 и русский",
    "日本語English日本語123日本語",
    "español123français",
    "x²+y³=z⁴",
    "naïve façade résumé coöperate",
    "São Paulo – 12 março 2020",
    "What is the capital of France?",
    "how do i read a file without copying it",
    "Represent this query for retrieving relevant documents.",
]

MESSAGES = [
    [{"role": "user", "content": "Hello"}],
    [{"role": "system", "content": "Answer briefly."}, {"role": "user", "content": "Hello"}],
    [{"role": "system", "content": ""}, {"role": "user", "content": "Hello"}],
    [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "One"},
        {"role": "assistant", "content": "Two"},
        {"role": "user", "content": "  Three \n"},
    ],
    [{"role": "user", "content": "One"}, {"role": "assistant", "content": "Two"}],
    [{"role": "user", "content": "<b>&amp; \"quotes\" 'single' {{ braces }} {% raw %}"}],
    [{"role": "user", "content": "多语言 😀\n\n\tindent"}],
]

# Templates with what other models' templates do: blocks on lines of their own, trimming,
# methods of Python's strings and lists, refusals.
TEMPLATES = {
    "blocks on lines": (
        "{% for message in messages %}\n"
        "    {% if message.role == 'user' %}\n"
        "    [USER] {{ message.content }}\n"
        "    {% else %}\n"
        "    [{{ message.role | upper }}] {{ message.content }}\n"
        "    {% endif %}\n"
        "{% endfor %}\n"
        "{%- if add_generation_prompt %}\n"
        "[ASSISTANT]\n"
        "{% endif %}\n"
    ),
    "python methods": (
        "{{ bos_token }}{%- set system = messages[0]['content'] if messages[0]['role'] == 'system' else none -%}"
        "{%- for message in messages if message['role'] != 'system' -%}"
        "{{ message['role'].upper() + ': ' + message['content'].strip() + eos_token }}"
        "{%- if message['content'].startswith('T') %} ({{ message['content'].split(' ')[0] }}){% endif -%}"
        "{%- endfor -%}"
        "{%- if system is not none %}|{{ system | trim }}|{% endif -%}"
        "{%- if add_generation_prompt %}ASSISTANT:{% endif %}"
    ),
    "namespaces": (
        "{%- set ns = namespace(count=0) -%}"
        "{%- for message in messages -%}"
        "{%- set ns.count = ns.count + 1 -%}"
        "{{ '### ' ~ ns.count ~ ' ' ~ message.role ~ ':\n' ~ message.content ~ '\n' }}"
        "{%- endfor -%}"
        "{%- if add_generation_prompt -%}{{ '### ' ~ (ns.count + 1) ~ ' assistant:\n' }}{%- endif -%}"
    ),
}


def texts() -> list[str]:
    lists = [SENTENCES, NUMBERS, CODE, EMOJI, WHITESPACE, MARKS, CONTROLS]
    lists += [CONTRACTIONS, SPECIAL, WORDS]
    every = [text for texts in lists for text in texts]
    every.append("\n".join(SENTENCES))
    every.append(" ".join(NUMBERS + EMOJI))
    assert len(set(every)) == len(every), "a text is there twice"
    return every


def tokenizer_golden(tokenizer) -> dict:
    """Ids by transformers, and those of the two-step splitting where they differ."""
    cases = []
    split_first = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    for text in texts():
        ids = tokenizer.encode(text, add_special_tokens=False)
        decoded = tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        cases.append({"text": text, "ids": ids, "decoded": decoded})
    backend = tokenizer.backend_tokenizer
    one_step = backend.pre_tokenizer
    backend.pre_tokenizer = split_first
    for case in cases:
        ids = backend.encode(case["text"], add_special_tokens=False).ids
        if ids != case["ids"]:
            case["ids_digits_first"] = ids
    backend.pre_tokenizer = one_step
    return {"cases": cases}


def template_golden(tokenizer) -> dict:
    cases = []
    templates = {"the model's own": tokenizer.chat_template, **TEMPLATES}
    for name, template in templates.items():
        for messages in MESSAGES:
            for generation in (False, True):
                text = tokenizer.apply_chat_template(
                    messages,
                    chat_template=template,
                    tokenize=False,
                    add_generation_prompt=generation,
                )
                ids = tokenizer.encode(text, add_special_tokens=False)
                case = {"template": name, "messages": messages}
                cases.append({**case, "add_generation_prompt": generation, "text": text, "ids": ids})
    return {
        "bos_token": tokenizer.bos_token,
        "eos_token": tokenizer.eos_token,
        "templates": templates,
        "cases": cases,
    }


def weights_golden(path: pathlib.Path) -> dict:
    """Shape, sum and samples of tensors, dequantised by the gguf package.

    Rows of attn_q and attn_k are put back into Hugging Face's order as transformers does.
    """
    heads = {"attn_q": 9, "attn_k": 3}
    names = {
        "token_embd.weight": "model.embed_tokens.weight",
        "output_norm.weight": "model.norm.weight",
        "blk.0.attn_q.weight": "model.layers.0.self_attn.q_proj.weight",
        "blk.0.attn_k.weight": "model.layers.0.self_attn.k_proj.weight",
        "blk.0.attn_v.weight": "model.layers.0.self_attn.v_proj.weight",
        "blk.0.attn_norm.weight": "model.layers.0.input_layernorm.weight",
        "blk.17.attn_q.weight": "model.layers.17.self_attn.q_proj.weight",
        "blk.29.attn_k.weight": "model.layers.29.self_attn.k_proj.weight",
        "blk.29.attn_output.weight": "model.layers.29.self_attn.o_proj.weight",
        "blk.29.ffn_gate.weight": "model.layers.29.mlp.gate_proj.weight",
        "blk.12.ffn_up.weight": "model.layers.12.mlp.up_proj.weight",
        "blk.29.ffn_down.weight": "model.layers.29.mlp.down_proj.weight",
        "blk.29.ffn_norm.weight": "model.layers.29.post_attention_layernorm.weight",
    }
    tensors = []
    for tensor in GGUFReader(path).tensors:
        if tensor.name not in names:
            continue
        values = dequantize(tensor.data, tensor.tensor_type).astype(numpy.float32)
        part = tensor.name.split(".")[-2]
        if part in heads:
            count = heads[part]
            half = values.shape[0] // count // 2
            values = values.reshape(count, half, 2, -1).swapaxes(1, 2).reshape(values.shape)
        flat = values.reshape(-1)
        samples = numpy.linspace(0, flat.size - 1, 24).astype(int).tolist()
        tensors.append(
            {
                "name": names[tensor.name],
                "shape": list(values.shape),
                "sum": float(flat.astype(numpy.float64).sum()),
                "samples": [[index, float(flat[index])] for index in samples],
            }
        )
    assert len(tensors) == len(names)
    return {"tensors": tensors}


def write(name: str, golden: dict) -> None:
    text = json.dumps(golden, ensure_ascii=True, indent=1)
    (HERE / name).write_text(text + "\n", encoding="utf-8")


def main() -> None:
    folder = pathlib.Path(sys.argv[1])
    (path,) = folder.glob("*.gguf")
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=path.name)
    golden = tokenizer_golden(tokenizer)
    differing = [case["text"] for case in golden["cases"] if "ids_digits_first" in case]
    print(f"{len(golden['cases'])} texts; digits first differs in {len(differing)}: {differing}")
    write("tokenizer_golden.json", golden)
    write("template_golden.json", template_golden(tokenizer))
    write("weights_golden.json", weights_golden(path))


if __name__ == "__main__":
    main()
