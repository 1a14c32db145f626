"""Tokens that a language model counts, estimated without its vocabulary."""

import base64
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedsvc.core.tokens import approximate_starts, estimated_tokens

ENGLISH = {
    "english": (
        91,
        "The library was built in 1887 on the bank of the river, and most of the "
        "people who live in the town have never been inside it. When the roof began "
        "to leak, the council voted to close the reading room until somebody could "
        "be found to pay for the repair. It took three years. In the meantime the "
        "books were kept in the cellar of the town hall, where damp and mice did "
        "more harm than the rain would have done.",
    ),
    "english tech": (
        78,
        "To install the package, run the command below in a terminal. If the server "
        "does not start, look at the log file in the data folder: it says which port "
        "is in use and whether the database could be opened. Requests that take longer "
        "than thirty seconds are cancelled, and the client is told to try again later. "
        "The number of workers is set by an option of the configuration.",
    ),
    "english law": (
        70,
        "The tenant shall pay the rent on the first day of each month. Should the "
        "tenant fail to do so within fourteen days, the landlord may terminate the "
        "agreement by written notice. Any dispute arising out of or in connection "
        "with this agreement shall be settled by the courts of the place where the "
        "property is situated, unless the parties have agreed otherwise in writing.",
    ),
    "english short": (
        14,
        "What is the capital of France, and how many people live there?",
    ),
    "english curly": (
        51,
        "“I don’t know,” she said — “but it’s not the first time we’ve seen this, "
        "and I wouldn’t be surprised if it happened again.” He didn’t answer. The "
        "clock in the hall struck ten, and neither of them moved…",
    ),
}
OTHERS = {
    "german": (
        109,
        "Die Bundesregierung hat am Mittwoch einen Gesetzentwurf beschlossen, der "
        "die Genehmigungsverfahren für Windkraftanlagen beschleunigen soll. Künftig "
        "müssen die Behörden innerhalb von zehn Wochen entscheiden. Umweltverbände "
        "kritisierten, dass die Öffentlichkeitsbeteiligung eingeschränkt werde, während "
        "Wirtschaftsvertreter die Neuregelung als überfälligen Schritt begrüßten.",
    ),
    "french": (
        83,
        "Le musée rouvre ses portes après quatre années de travaux. Les visiteurs "
        "pourront découvrir une centaine d'œuvres qui n'avaient jamais été exposées, "
        "ainsi qu'une salle consacrée à l'histoire du bâtiment. L'entrée est gratuite "
        "le premier dimanche de chaque mois, à condition de réserver à l'avance sur "
        "le site internet.",
    ),
    "finnish": (
        107,
        "Kaupunginvaltuusto päätti maanantaina, että kirjaston peruskorjaus aloitetaan "
        "ensi keväänä. Remontin aikana lainaustoiminta siirtyy väliaikaisesti entisen "
        "koulun tiloihin. Asukkaat ovat toivoneet, että lukusali pysyisi auki myös "
        "viikonloppuisin, mutta henkilökuntaa ei ole riittävästi.",
    ),
    "polish": (
        105,
        "Rada miasta zdecydowała, że biblioteka zostanie zamknięta na czas remontu. "
        "Mieszkańcy będą mogli wypożyczać książki w budynku dawnej szkoły, gdzie "
        "przygotowano tymczasową czytelnię. Według burmistrza prace potrwają co najmniej "
        "dwa lata, ponieważ dach wymaga całkowitej wymiany.",
    ),
    "vietnamese": (
        124,
        "Hội đồng thành phố đã quyết định đóng cửa thư viện trong thời gian sửa chữa. "
        "Người dân có thể mượn sách tại trường học cũ, nơi một phòng đọc tạm thời "
        "đã được chuẩn bị. Theo thị trưởng, công việc sẽ kéo dài ít nhất hai năm "
        "vì mái nhà cần được thay mới hoàn toàn.",
    ),
    "swahili": (
        109,
        "Baraza la jiji limeamua kwamba maktaba itafungwa wakati wa matengenezo. "
        "Wakazi wataweza kuazima vitabu katika jengo la shule ya zamani, ambako chumba "
        "cha kusomea cha muda kimeandaliwa. Kwa mujibu wa meya, kazi itachukua angalau "
        "miaka miwili kwa sababu paa linahitaji kubadilishwa lote.",
    ),
    "russian": (
        117,
        "Городской совет решил, что библиотека будет закрыта на время ремонта. Жители "
        "смогут брать книги в здании бывшей школы, где подготовлен временный читальный "
        "зал. По словам мэра, работы продлятся не менее двух лет, так как крыша нуждается "
        "в полной замене.",
    ),
    "ukrainian": (
        148,
        "Міська рада вирішила, що бібліотека буде зачинена на час ремонту. Мешканці "
        "зможуть брати книжки в будівлі колишньої школи, де підготовлено тимчасовий "
        "читальний зал. За словами мера, роботи триватимуть щонайменше два роки, "
        "оскільки дах потребує повної заміни.",
    ),
    "greek": (
        223,
        "Το δημοτικό συμβούλιο αποφάσισε ότι η βιβλιοθήκη θα παραμείνει κλειστή κατά "
        "τη διάρκεια των εργασιών. Οι κάτοικοι θα μπορούν να δανείζονται βιβλία στο "
        "κτίριο του παλιού σχολείου. Σύμφωνα με τον δήμαρχο, τα έργα θα διαρκέσουν "
        "τουλάχιστον δύο χρόνια.",
    ),
    "hebrew": (
        193,
        "מועצת העיר החליטה שהספרייה תהיה סגורה בזמן השיפוץ. התושבים יוכלו לשאול ספרים "
        "בבניין בית הספר הישן, שבו הוכן אולם קריאה זמני. לדברי ראש העיר, העבודות "
        "יימשכו לפחות שנתיים, משום שצריך להחליף את הגג כולו.",
    ),
    "arabic": (
        149,
        "قرر مجلس المدينة إغلاق المكتبة خلال فترة الترميم. ويستطيع السكان استعارة "
        "الكتب من مبنى المدرسة القديمة حيث أُعدت قاعة مؤقتة للقراءة. وقال رئيس البلدية "
        "إن الأعمال ستستمر سنتين على الأقل لأن السقف يحتاج إلى استبدال كامل.",
    ),
    "hindi": (
        239,
        "नगर परिषद ने निर्णय लिया कि मरम्मत के दौरान पुस्तकालय बंद रहेगा। निवासी "
        "पुराने विद्यालय के भवन से पुस्तकें ले सकेंगे, जहाँ एक अस्थायी वाचनालय तैयार "
        "किया गया है। महापौर के अनुसार काम कम से कम दो वर्ष चलेगा, क्योंकि छत को "
        "पूरी तरह बदलना होगा।",
    ),
    "bengali": (
        246,
        "নগর পরিষদ সিদ্ধান্ত নিয়েছে যে মেরামতের সময় গ্রন্থাগার বন্ধ থাকবে। বাসিন্দারা "
        "পুরোনো বিদ্যালয়ের ভবন থেকে বই নিতে পারবেন, যেখানে একটি অস্থায়ী পাঠকক্ষ "
        "তৈরি করা হয়েছে। মেয়রের মতে কাজ অন্তত দুই বছর চলবে।",
    ),
    "tamil": (
        322,
        "பழுதுபார்க்கும் காலத்தில் நூலகம் மூடப்படும் என்று நகர சபை முடிவு செய்தது. "
        "பழைய பள்ளிக் கட்டிடத்தில் மக்கள் நூல்களைப் பெறலாம். அங்கே தற்காலிக வாசிப்பு "
        "அறை அமைக்கப்பட்டுள்ளது. வேலை குறைந்தது இரண்டு ஆண்டுகள் நீடிக்கும் என்று "
        "மேயர் கூறினார்.",
    ),
    "thai": (
        183,
        "สภาเมืองตัดสินใจปิดห้องสมุดระหว่างการซ่อมแซม ประชาชนสามารถยืมหนังสือได้ที่อาคารโรงเร"
        "ียนเก่า ซึ่งมีห้องอ่านหนังสือชั่วคราว นายกเทศมนตรีกล่าวว่างานจะใช้เวลาอย่างน้อยสองปี"
        " เพราะต้องเปลี่ยนหลังคาทั้งหมด",
    ),
    "amharic": (
        343,
        "የከተማው ምክር ቤት ቤተ መጻሕፍቱ በጥገናው ወቅት እንዲዘጋ ወሰነ። ነዋሪዎች በቀድሞው ትምህርት ቤት ሕንጻ ውስጥ "
        "መጻሕፍት መዋስ ይችላሉ። ከንቲባው እንዳሉት ሥራው ቢያንስ ሁለት ዓመት ይፈጃል፤ ጣሪያው ሙሉ በሙሉ መቀየር አለበት።",
    ),
    "georgian": (
        414,
        "საქალაქო საბჭომ გადაწყვიტა, რომ ბიბლიოთეკა რემონტის დროს დაიკეტება. მოსახლეობას "
        "წიგნების აღება ძველი სკოლის შენობაში შეეძლება, სადაც დროებითი სამკითხველო "
        "დარბაზი მოეწყო. მერის თქმით, სამუშაოები სულ მცირე ორ წელს გაგრძელდება.",
    ),
    "armenian": (
        384,
        "Քաղաքային խորհուրդը որոշեց, որ գրադարանը փակ կլինի նորոգման ընթացքում։ Բնակիչները "
        "կարող են գրքեր վերցնել հին դպրոցի շենքից, որտեղ ժամանակավոր ընթերցասրահ "
        "է պատրաստվել։ Աշխատանքները կտևեն առնվազն երկու տարի։",
    ),
    "khmer": (
        212,
        "ក្រុមប្រឹក្សាក្រុងបានសម្រេចបិទបណ្ណាល័យក្នុងអំឡុងពេលជួសជុល។ ប្រជាជនអាចខ្ចីសៀវភៅនៅអគារ"
        "សាលាចាស់។ ការងារនេះនឹងចំណាយពេលយ៉ាងតិចពីរឆ្នាំ។",
    ),
    "chinese": (
        99,
        "市议会决定，图书馆在维修期间将关闭。居民可以在旧学校的大楼里借书，那里已"
        "经准备好了临时阅览室。市长表示，工程至少需要两年时间，因为屋顶必须全部更"
        "换，而且预算还没有得到批准。",
    ),
    "chinese of taiwan": (
        127,
        "市議會決定，圖書館在維修期間將關閉。居民可以在舊學校的大樓裡借書，那裡已"
        "經準備好了臨時閱覽室。市長表示，工程至少需要兩年時間，因為屋頂必須全部更"
        "換，而且預算還沒有得到批准。",
    ),
    "japanese": (
        147,
        "市議会は、改修工事のあいだ図書館を閉めることを決めた。住民は旧校舎で本を"
        "借りることができ、そこには仮の閲覧室が用意されている。市長によると、屋根"
        "をすべて取り替える必要があるため、工事には少なくとも二年かかるという。カ"
        "ウンターとコピーサービスは利用できない。",
    ),
    "korean": (
        135,
        "시의회는 보수 공사 기간 동안 도서관을 닫기로 결정했다. 주민들은 옛 학교 "
        "건물에서 책을 빌릴 수 있으며, 그곳에는 임시 열람실이 마련되어 있다. 시장"
        "에 따르면 지붕을 모두 교체해야 하기 때문에 공사는 적어도 이 년이 걸릴 것"
        "이라고 한다.",
    ),
    "emoji": (
        81,
        "🎉🚀🔥 😀😃😄 👍🏽👩\u200d👩\u200d👧\u200d👦 "
        "🇩🇪🇫🇷 ❤\ufe0f✨ 🐙🦊🦄 🌧\ufe0f☀\ufe0f 🧑\u200d💻📚✅",
    ),
    "table": (
        131,
        "| Item 1 | 17.35 | 311 | 2024-02-11 |\n"
        "| Item 2 | 34.70 | 1244 | 2024-03-12 |\n"
        "| Item 3 | 52.05 | 2799 | 2024-04-13 |\n"
        "| Item 4 | 69.40 | 4976 | 2024-05-14 |\n"
        "| Item 5 | 86.75 | 7775 | 2024-06-15 |\n"
        "| Item 6 | 104.10 | 11196 | 2024-07-16 |\n",
    ),
    "code": (
        119,
        "def approximate_starts(text: str) -> NDArray[np.int64]:\n"
        '    """The offset of each token."""\n'
        "    return np.fromiter((match.start() for match in _TOKEN.finditer(text)), "
        "dtype=np.int64)\n"
        "\n"
        "class Shelf:\n"
        "    def __init__(self) -> None:\n"
        "        self._changed = threading.Condition()\n"
        "        self._weights: dict[Loading, Weights] = {}\n"
        "        if self._weights is not None and len(self._held) >= 2:\n"
        "            for index in range(10):\n"
        "                self.callbacks[index](value, *args, **kwargs)\n",
    ),
    "names": (
        65,
        "Wojciechowski, Katarzyna; Nguyen, Thi Minh Khai; O'Shaughnessy, Siobhan; "
        "Papadopoulos, Konstantinos; Venkataraman, Subramaniam; Oyelaran, Babatunde; "
        "Grzegorczyk, Andrzej",
    ),
}
NOISE = b"".join(sha256(bytes([n])).digest() for n in range(8))
MADE = {
    "base64": (244, base64.b64encode(NOISE).decode()),
    "hex": (283, NOISE.hex()),
    "letters": (137, "".join(chr(97 + byte % 26) for byte in NOISE)),
    "digits": (48, str(3**300)),
    "numbers": (176, " ".join(str(7919**n)[: 1 + n % 9] for n in range(60))),
}
"""How many tokens texts are in OpenAI's vocabulary cl100k_base, counted with tiktoken."""

texts = st.text(st.sampled_from("ab Z1.(é語я\n🌧"), max_size=40) | st.text(max_size=40)


@pytest.mark.parametrize("name", ENGLISH)
def test_an_estimate_for_english_is_close(name: str) -> None:
    tokens, text = ENGLISH[name]
    assert 0.9 * tokens <= estimated_tokens(text) <= 1.15 * tokens


@pytest.mark.parametrize("name", [*OTHERS, *MADE])
def test_an_estimate_is_not_too_low_in_any_script(name: str) -> None:
    tokens, text = {**OTHERS, **MADE}[name]
    assert 0.9 * tokens <= estimated_tokens(text) <= 1.55 * tokens


@given(texts, texts)
def test_texts_together_have_no_more_tokens_than_each_of_them(one: str, other: str) -> None:
    assert estimated_tokens(f"{one}\n{other}") <= estimated_tokens(one) + 2 + estimated_tokens(
        other
    )


def test_white_space_counts_where_there_is_much_of_it() -> None:
    assert estimated_tokens("a b") == 2
    assert estimated_tokens("") == 0
    assert 1_000 <= estimated_tokens(" " * 16_000) <= 2_000
    assert estimated_tokens("\n" * 4_000) >= 1_000


def test_half_of_a_surrogate_pair_is_counted_too() -> None:
    assert estimated_tokens("\ud83d") >= 1


def test_where_texts_are_cut_does_not_change() -> None:
    """What is stored was cut there."""
    assert approximate_starts("Donaudampfschiff 12345 東京市 a-b").tolist() == [
        0,
        8,
        17,
        20,
        23,
        25,
        27,
        28,
        29,
    ]
