"""The grammar's words: English, German and Chinese forms, and which kinds of noun each verb and adjective takes.

One row for each word; an underscore is a space inside a form. The kinds of noun are person (P), system (S), data (D),
method (M), task (T) and quantity (Q); they keep the sentences meaningful.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Noun:
    en: str
    en_plural: str
    gender: str  # m, f, n
    de: str
    de_plural: str
    de_genitive: str
    zh: str
    measure: str  # the Chinese measure word
    kind: str

    @property
    def weak(self) -> bool:
        """Weak masculines take -(e)n in every case but the nominative: der Student, den Studenten."""
        return self.gender == "m" and self.de_genitive.endswith("n")


@dataclass(frozen=True)
class Verb:
    en: str
    en_third: str
    en_past: str
    de: str  # infinitive, and plural present, without the separable prefix
    de_third: str
    de_participle: str
    de_prefix: str  # separable prefix, or ""
    zh: str
    subjects: str  # kinds of noun that can be its subject
    objects: str  # kinds of noun that can be its object

    @property
    def de_infinitive(self) -> str:
        return self.de_prefix + self.de


@dataclass(frozen=True)
class Adjective:
    en: str
    en_comparative: str  # "" if the grammar never compares it
    de: str
    de_stem: str  # before an ending: teur for teuer
    de_comparative: str
    zh: str
    relational: bool  # classifies: no 的 before the noun, 是…的 as a predicate
    kinds: str


@dataclass(frozen=True)
class Phrase:
    """A word or group that does not inflect."""

    en: str
    de: str
    zh: str


_NOUNS = """
model models n Modell Modelle Modells 模型 个 S
system systems n System Systeme Systems 系统 个 S
encoder encoders m Encoder Encoder Encoders 编码器 个 S
decoder decoders m Decoder Decoder Decoders 解码器 个 S
network networks n Netzwerk Netzwerke Netzwerks 网络 个 S
parser parsers m Parser Parser Parsers 解析器 个 S
tool tools n Werkzeug Werkzeuge Werkzeugs 工具 个 S
algorithm algorithms m Algorithmus Algorithmen Algorithmus 算法 种 S
pipeline pipelines f Pipeline Pipelines Pipeline 流程 个 S
classifier classifiers m Klassifikator Klassifikatoren Klassifikators 分类器 个 S
module modules n Modul Module Moduls 模块 个 S
baseline baselines f Baseline Baselines Baseline 基线 个 S
computer computers m Computer Computer Computers 电脑 台 S
server servers m Server Server Servers 服务器 台 S
tokenizer tokenizers m Tokenizer Tokenizer Tokenizers 分词器 个 S
method methods f Methode Methoden Methode 方法 种 M
approach approaches m Ansatz Ansätze Ansatzes 方案 种 M
strategy strategies f Strategie Strategien Strategie 策略 种 M
technique techniques f Technik Techniken Technik 技术 种 M
loss losses m Verlust Verluste Verlusts 损失 种 M
rule rules f Regel Regeln Regel 规则 条 M
dataset datasets m Datensatz Datensätze Datensatzes 数据集 个 D
corpus corpora n Korpus Korpora Korpus 语料库 个 D
document documents n Dokument Dokumente Dokuments 文档 份 D
sentence sentences m Satz Sätze Satzes 句子 个 D
word words n Wort Wörter Wortes 单词 个 D
translation translations f Übersetzung Übersetzungen Übersetzung 译文 篇 D
summary summaries f Zusammenfassung Zusammenfassungen Zusammenfassung 摘要 篇 D
recording recordings f Aufnahme Aufnahmen Aufnahme 录音 段 D
transcript transcripts n Transkript Transkripte Transkripts 文字稿 份 D
graph graphs m Graph Graphen Graphen 图 张 D
table tables f Tabelle Tabellen Tabelle 表格 张 D
picture pictures n Bild Bilder Bildes 图片 张 D
message messages f Nachricht Nachrichten Nachricht 消息 条 D
article articles m Artikel Artikel Artikels 文章 篇 D
book books n Buch Bücher Buches 书 本 D
label labels n Label Labels Labels 标签 个 D
paragraph paragraphs m Absatz Absätze Absatzes 段落 个 D
example examples n Beispiel Beispiele Beispiels 例子 个 D
language languages f Sprache Sprachen Sprache 语言 种 T
task tasks f Aufgabe Aufgaben Aufgabe 任务 项 T
question questions f Frage Fragen Frage 问题 个 T
answer answers f Antwort Antworten Antwort 答案 个 T
result results n Ergebnis Ergebnisse Ergebnisses 结果 项 T
experiment experiments n Experiment Experimente Experiments 实验 项 T
metric metrics f Metrik Metriken Metrik 指标 项 T
error errors m Fehler Fehler Fehlers 错误 个 T
idea ideas f Idee Ideen Idee 想法 个 T
feature features n Merkmal Merkmale Merkmals 特征 个 T
signal signals n Signal Signale Signals 信号 个 T
benchmark benchmarks m Benchmark Benchmarks Benchmarks 基准 个 T
domain domains f Domäne Domänen Domäne 领域 个 T
accuracy accuracies f Genauigkeit Genauigkeiten Genauigkeit 准确率 个 Q
quality qualities f Qualität Qualitäten Qualität 质量 个 Q
cost costs m Preis Preise Preises 成本 个 Q
speed speeds f Geschwindigkeit Geschwindigkeiten Geschwindigkeit 速度 个 Q
score scores f Punktzahl Punktzahlen Punktzahl 得分 个 Q
size sizes f Größe Größen Größe 规模 个 Q
memory memories m Speicher Speicher Speichers 内存 个 Q
latency latencies f Latenz Latenzen Latenz 延迟 个 Q
student students m Student Studenten Studenten 学生 名 P
speaker speakers m Sprecher Sprecher Sprechers 说话人 位 P
user users m Nutzer Nutzer Nutzers 用户 位 P
researcher researchers m Forscher Forscher Forschers 研究员 位 P
colleague colleagues m Kollege Kollegen Kollegen 同事 位 P
expert experts m Experte Experten Experten 专家 位 P
teacher teachers m Lehrer Lehrer Lehrers 老师 位 P
author authors m Autor Autoren Autors 作者 位 P
team teams n Team Teams Teams 团队 个 P
company companies f Firma Firmen Firma 公司 家 P
"""

_VERBS = """
train trains trained trainieren trainiert trainiert - 训练 P S
test tests tested testen testet getestet - 测试 P SMT
evaluate evaluates evaluated bewerten bewertet bewertet - 评估 PM SMDT
use uses used verwenden verwendet verwendet - 使用 PSM SMD
need needs needed brauchen braucht gebraucht - 需要 PSM SMDP
improve improves improved verbessern verbessert verbessert - 改进 PSM SMQ
reduce reduces reduced reduzieren reduziert reduziert - 降低 PSM Q
increase increases increased erhöhen erhöht erhöht - 提高 PSM Q
measure measures measured messen misst gemessen - 测量 P Q
compare compares compared vergleichen vergleicht verglichen - 比较 PM SMDT
build builds built bauen baut gebaut - 构建 P SD
develop develops developed entwickeln entwickelt entwickelt - 开发 P SM
describe describes described beschreiben beschreibt beschrieben - 描述 PD SMDT
explain explains explained erklären erklärt erklärt - 解释 PD MT
present presents presented stellen stellt vorgestellt vor 介绍 P SMT
select selects selected wählen wählt ausgewählt aus 选择 PSM SMD
analyze analyzes analyzed analysieren analysiert analysiert - 分析 PSM DT
translate translates translated übersetzen übersetzt übersetzt - 翻译 PS D
read reads read lesen liest gelesen - 阅读 PS D
write writes wrote schreiben schreibt geschrieben - 撰写 P D
collect collects collected sammeln sammelt gesammelt - 收集 P D
publish publishes published veröffentlichen veröffentlicht veröffentlicht - 发布 P SD
compress compresses compressed komprimieren komprimiert komprimiert - 压缩 PSM SD
extend extends extended erweitern erweitert erweitert - 扩展 P SMD
replace replaces replaced ersetzen ersetzt ersetzt - 替换 PM SM
combine combines combined kombinieren kombiniert kombiniert - 结合 PM SMD
understand understands understood verstehen versteht verstanden - 理解 PS DT
find finds found finden findet gefunden - 找到 PS DT
solve solves solved lösen löst gelöst - 解决 PSM T
remove removes removed entfernen entfernt entfernt - 删除 PM DT
load loads loaded laden lädt geladen - 加载 PS SD
store stores stored speichern speichert gespeichert - 存储 PS D
support supports supported fördern fördert gefördert - 支持 P PT
help helps helped unterstützen unterstützt unterstützt - 帮助 PS P
visit visits visited besuchen besucht besucht - 拜访 P P
invite invites invited laden lädt eingeladen ein 邀请 P P
"""

_ADJECTIVES = """
new newer neu neu neuer 新 - SMDTP
large larger groß groß größer 大 - SDT
small smaller klein klein kleiner 小 - SDT
simple simpler einfach einfach einfacher 简单 - SMDT
fast faster schnell schnell schneller 快 - S
slow slower langsam langsam langsamer 慢 - S
strong stronger stark stark stärker 强大 - SM
good better gut gut besser 好 - SMDTP
cheap cheaper billig billig billiger 便宜 - S
expensive - teuer teur - 昂贵 - SM
long longer lang lang länger 长 - D
short shorter kurz kurz kürzer 短 - D
deep deeper tief tief tiefer 深 - S
old older alt alt älter 旧 - SMD
difficult - schwierig schwierig - 困难 - T
important - wichtig wichtig - 重要 - SMDTPQ
useful - nützlich nützlich - 有用 - SMDT
robust - robust robust - 稳健 - SM
efficient - effizient effizient - 高效 - SM
complex - komplex komplex - 复杂 - SMDT
interesting - interessant interessant - 有趣 - MDT
famous - berühmt berühmt - 著名 - PD
young younger jung jung jünger 年轻 - P
friendly - freundlich freundlich - 友好 - P
high higher hoch hoh höher 高 - Q
low lower niedrig niedrig niedriger 低 - Q
stable - stabil stabil - 稳定 - SQ
multilingual - mehrsprachig mehrsprachig - 多语言 r SD
neural - neuronal neuronal - 神经 r S
public - öffentlich öffentlich - 公开 r DS
automatic - automatisch automatisch - 自动 r SM
medical - medizinisch medizinisch - 医学 r DT
"""

_OPENERS = """
today Heute 今天
now Jetzt 现在
finally Schließlich 最后
usually Normalerweise 通常
therefore Deshalb 因此
fortunately Glücklicherweise 幸运的是
in_this_talk In_diesem_Vortrag 在这次报告中
in_practice In_der_Praxis 在实践中
for_example Zum_Beispiel 例如
last_year Letztes_Jahr 去年
this_week Diese_Woche 这周
in_the_first_step Im_ersten_Schritt 第一步
"""
_ADVERBS = """
also auch 也
often oft 经常
always immer 总是
still weiterhin 仍然
quickly schnell 很快地
carefully sorgfältig 仔细地
"""
_MODALS = """
can können kann 可以
should sollten sollte 应该
must müssen muss 必须
"""
_PRONOUNS = "we wir 我们\nthey sie 他们\nyou Sie 你们"
_SURNAMES = """
Miller Miller 米勒
Smith Smith 史密斯
Garcia Garcia 加西亚
Novak Novak 诺瓦克
Tanaka Tanaka 田中
Rossi Rossi 罗西
Weber Weber 韦伯
Olsen Olsen 奥尔森
Baker Baker 贝克
Jackson Jackson 杰克逊
"""
_TITLES = "Professor Professor 教授\nDoctor Doktor 博士"
_FIRST_NAMES = """
Anna Anna 安娜
Peter Peter 彼得
Maria Maria 玛丽亚
David David 大卫
Laura Laura 劳拉
Thomas Thomas 托马斯
"""
_CITIES = """
Prague Prag 布拉格
Berlin Berlin 柏林
Tokyo Tokio 东京
Vienna Wien 维也纳
Boston Boston 波士顿
Toronto Toronto 多伦多
Madrid Madrid 马德里
Edinburgh Edinburgh 爱丁堡
"""
_QUANTIFIERS = "many viele 许多\nsome einige 一些\nall alle 所有"
_REPORTING = """
show shows - zeigen zeigt - - 表明 T -
believe believes - glauben glaubt - - 认为 P -
know knows - wissen weiß - - 知道 P -
say says - sagen sagt - - 说 P -
hope hopes - hoffen hofft - - 希望 P -
suspect suspects - vermuten vermutet - - 推测 P -
"""


def _rows(table: str) -> list[list[str]]:
    return [["" if f == "-" else f.replace("_", " ") for f in line.split()] for line in table.strip().splitlines()]


def _words(text: str) -> list[str]:
    return text.split()


NOUNS = tuple(Noun(*row) for row in _rows(_NOUNS))
VERBS = tuple(Verb(*row) for row in _rows(_VERBS))
REPORTING = tuple(Verb(*row) for row in _rows(_REPORTING))
ADJECTIVES = tuple(Adjective(a, b, c, d, e, f, r == "r", k) for a, b, c, d, e, f, r, k in _rows(_ADJECTIVES))
OPENERS, ADVERBS, PRONOUNS, SURNAMES, TITLES, FIRST_NAMES, CITIES, QUANTIFIERS = (
    tuple(Phrase(*row) for row in _rows(table))
    for table in (_OPENERS, _ADVERBS, _PRONOUNS, _SURNAMES, _TITLES, _FIRST_NAMES, _CITIES, _QUANTIFIERS)
)
MODALS = tuple((row[0], row[1], row[2], row[3]) for row in _rows(_MODALS))  # en, de plural, de third, zh

TOPICS: dict[str, str] = {
    "translation": "model decoder tokenizer translation sentence language corpus quality metric loss student",
    "speech": "encoder recording transcript speaker signal network latency word error system user",
    "parsing": "parser graph sentence word rule algorithm feature accuracy experiment label author",
    "summaries": "summary article document paragraph pipeline approach score book teacher baseline idea",
    "dialogue": "question answer user message system expert rule task memory colleague technique",
    "pictures": "picture label classifier network dataset example feature module researcher size benchmark",
    "compression": "server memory size speed cost model module technique strategy result computer company",
    "evaluation": "metric benchmark score result experiment domain dataset table baseline team error expert",
}

_DE_UNITS = _words(
    "null ein zwei drei vier fünf sechs sieben acht neun zehn elf zwölf "
    "dreizehn vierzehn fünfzehn sechzehn siebzehn achtzehn neunzehn"
)
_DE_TENS = _words("- - zwanzig dreißig vierzig fünfzig sechzig siebzig achtzig neunzig")
_EN_UNITS = _words(
    "zero one two three four five six seven eight nine ten eleven twelve "
    "thirteen fourteen fifteen sixteen seventeen eighteen nineteen"
)
_EN_TENS = _words("- - twenty thirty forty fifty sixty seventy eighty ninety")
_ZH_DIGITS = "零一二三四五六七八九"


def number(value: int, *, counting: bool) -> Phrase:
    """A number from 2 to 99 in words. Before a measure word (counting) Chinese says 两 for two."""
    if not 2 <= value <= 99:
        raise ValueError(f"the grammar counts from 2 to 99, not {value}")
    tens, units = divmod(value, 10)
    if value < 20:
        en, de = _EN_UNITS[value], _DE_UNITS[value]
    else:
        en = _EN_TENS[tens] + (f"-{_EN_UNITS[units]}" if units else "")
        de = (f"{_DE_UNITS[units]}und" if units else "") + _DE_TENS[tens]
    zh = ("" if tens < 2 else _ZH_DIGITS[tens]) + ("十" if tens else "") + (_ZH_DIGITS[units] if units else "")
    if counting and value == 2:
        zh = "两"
    return Phrase(en, de, zh)
