"""What a column's or file's name says, in English, German, French, Spanish and Chinese: evidence, and no more.

A name is split into words (`visitorId`, `user_id`); its last word that is not a mere `id` or `code` says most,
since an `item price` is a price. `strength` gives how strongly a name speaks for a concept, from 0 to 1.
"""

import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache

LAST_WORD, INNER_WORD, LAST_PART, FIRST_PART = 0.95, 0.4, 0.7, 0.35
_NAME = "name"
_SHORTEST_PART = 4  # letters of a word that counts inside a longer one: Kaufdatum, orderdate
_IDS = (
    "id ids key keys no nr num number nummer code codes identifier uuid guid hash idx index ref sk pk fk raw anon"
    " numero identifiant clave"
)
_ID_WORDS = frozenset(_IDS.split())
_ID_ENDINGS = ("nummer", "number", "uuid", "code", "key", "num", "ids", "id", "nr", "no")
_FORMAT = re.compile(r"(?<=.)\.(csv|tsv|tab|txt|dat|data|parquet|pq|jsonl?|ndjson|gz|zst|xz|bz2)$", re.IGNORECASE)
_CHINESE_IDS = re.compile(r"(编号|序号|编码|代码|标识|号码|id)$")

_WORDS = {
    "user": "user customer client visitor member household person people account buyer shopper reader viewer listener"
    " subscriber player student reviewer learner passenger guest uid cust usr kunde kunden nutzer benutzer besucher"
    " mitglied kaeufer käufer leser haushalt utilisateur acheteur membre visiteur lecteur usuario cliente comprador"
    " miembro visitante hogar cookie 用户 会员 客户 顾客 买家 读者 学生 学员 考生 学号 观众 访客",
    "item": "item product sku article movie film book isbn asin song track video news story content offer listing"
    " goods game app course recipe hotel restaurant business artist album post page iid podcast anime beer"
    " wine stock stockcode merchandise show episode url uri exercise"
    " question problem quiz artikel produkt produkte ware buch bücher lied filme artículo"
    " producto libro película canción produit livre chanson 商品 物品 产品 电影 影片 图书 书籍 歌曲 视频 文章 新闻 课程"
    " 音乐 店铺 菜品 试题 题目 题号 试卷 习题",
    "time": "time timestamp ts date datetime at when day moment created zeit zeitpunkt zeitstempel datum uhrzeit heure"
    " horodatage fecha hora tiempo jour dia 时间 日期 时间戳 时刻",
    "other time": "updated update modified changed birth birthday dob birthdate released release expires expiry ship"
    " shipped shipping delivery delivered due deleted refreshed geburt geburtsdatum geändert naissance nacimiento"
    " modifié 更新 修改 生日 出生 上映 发布 上架",
    "kind": "event type action behavior behaviour kind activity verb interaction operation eventtype aktion ereignis"
    " typ art verhalten acción evento tipo évènement événement comportement 行为 动作 事件 操作 类型",
    "rating": "rating ratings score stars star grade overall bewertung sterne note puntuación calificación valoración"
    " estrellas évaluation notation étoiles 评分 打分 星级 得分 分数 评级",
    "seconds": "duration seconds secs sec dwell dwelltime watch watched watchtime played playtime minutes ms elapsed"
    " dauer durée duración 时长 停留 观看 用时 耗时",
    "amount": "amount value wert valeur valor revenue sales spend spent total paid payment betrag umsatz"
    " summe montant importe 金额 值 销售额 消费 总价",
    "quantity": "quantity qty count units pieces menge anzahl quantité cantidad 数量 件数",
    "price": "price cost preis unitprice prix precio 价格 单价 售价",
    "label": "label clicked click liked target accepted 点击 是否",
    "basket": "basket order orders bestell cart invoice invoiceno transaction receipt bestellung warenkorb rechnung bon"
    " commande panier facture pedido cesta factura 订单 购物车 小票",
    "session": "session visit basket order orders bestell cart invoice invoiceno transaction receipt trip bestellung"
    " warenkorb sitzung rechnung bon commande panier facture pedido cesta factura sesión 会话 订单 购物车 交易 小票",
    "title": "title name label headline titel bezeichnung titre nom título nombre 标题 名称 名字 片名 书名 品名 歌名",
    "category": "category categories genre genres tag tags topic topics department section group class kategorie"
    " kategorien rubrik schlagworte schlagwörter catégorie rubrique categoría género géneros etiquetas 类别 分类 类目"
    " 标签 题材 类型 品类 知识点",
    "description": "description text abstract summary plot overview about body synopsis details beschreibung résumé"
    " descripción resumen 描述 简介 摘要 介绍 详情",
    "image": "image img picture photo poster cover thumbnail imageurl bild foto imagen 图片 封面 海报",
    "origin": "referrer referer referral ref source utm 来源 来路",
    "available": "available availability instock active enabled lieferbar verfügbar disponible 可用 在售 有货",
    "identity": "email mail phone telephone mobile ip ssn passport address street firstname lastname surname fullname"
    " username nickname password name zip zipcode postcode postal plz vorname nachname telefon adresse straße prénom"
    " téléphone apellido teléfono dirección 邮箱 电话 手机 姓名 地址 身份证 邮编 昵称",
    "gender": "gender sex geschlecht sexe sexo género genre 性别",
    "age": "age alter âge edad agegroup 年龄",
    "birth year": "birthyear yob geburtsjahr 出生年份 出生年",
    "ethnicity": "race ethnicity ethnic nationality ethnie herkunft nacionalidad nationalité 民族 种族 国籍",
    "religion": "religion faith confession konfession religión 宗教 信仰",
    "health": "health disability disease diagnosis krankheit gesundheit santé salud bmi 健康 残疾 疾病",
    "income": "income salary wage wealth einkommen gehalt revenu ingresos salario 收入 工资 薪资",
    "location": "location region city country state province county land stadt ort bundesland région ville pays"
    " ciudad país región provincia 地区 城市 省份 国家 籍贯 所在地",
    "household": "household householdsize children kids marital married family familienstand familie hijos 婚姻 子女"
    " 家庭",
    "occupation": "occupation job profession employment beruf métier profesión ocupación 职业",
    "education": "education degree bildung schooling educación éducation 学历 教育",
    "orientation": "orientation sexuality politics political party 政治",
}
SENSITIVE = (
    *("gender", "age", "ethnicity", "religion", "health", "income", "location"),
    *("household", "occupation", "education", "orientation"),
)
WEAK_KINDS = (
    "view impression show shown expose exposure skip search pv pageview browse ansicht vue vista 浏览 曝光 展示"
)
STRONG_KINDS = (
    "click favourite favorite fav like cart basket addtocart purchase buy bought order transaction pay rate rating play"
    " listen watch share comment download install read bookmark wishlist save subscribe checkout klick kauf gekauft"
    " warenkorb achat clic acheter panier compra comprar clic carrito 点击 购买 收藏 加购"
    " 加入购物车 下单 支付 播放 分享 评论 喜欢 点赞"
)
KINDS_BY_NAME = {  # words of a file's name -> the kind of its events
    "purchase": "purchase purchases order orders basket baskets transaction transactions sales invoice retail receipts"
    " bestellungen käufe ventes compras 订单 购买 交易",
    "click": "click clicks clickstream klicks clics 点击",
    "play": "play plays listen listens watch watches views stream streams 播放 观看",
    "rate": "rating ratings review reviews bewertungen 评分 评价",
}


def plain(text: str) -> str:
    """Lower case, without accents."""
    parts = unicodedata.normalize("NFKD", text.casefold())
    return "".join(mark for mark in parts if not unicodedata.combining(mark))


def words_of(name: str) -> list[str]:
    """The words of a name: `visitorId`, `visitor_id` and `Visitor ID` have the same two."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name)
    return [word for word in re.split(r"[\W_]+", plain(spaced)) if word]


def stem_of(file_name: str) -> str:
    """A file's name without its folder and without endings that only tell its format; `u.item` is whole."""
    name = file_name.rpartition("/")[2]
    while _FORMAT.search(name):
        name = _FORMAT.sub("", name)
    return name


def _split(words: Iterable[str]) -> tuple[frozenset[str], tuple[str, ...]]:
    all_of = [plain(word) for word in words]
    return frozenset(word for word in all_of if word.isascii()), tuple(word for word in all_of if not word.isascii())


_CONCEPTS = {concept: _split(words.split()) for concept, words in _WORDS.items()}
_KINDS = {word: strong for text, strong in ((WEAK_KINDS, False), (STRONG_KINDS, True)) for word in plain(text).split()}


@lru_cache(maxsize=100_000)
def strength(name: str, concept: str) -> float:
    """How strongly a name speaks for a concept of this module, in [0, 1]."""
    latin, chinese = _CONCEPTS[concept]
    words = [word for word in words_of(name) if word not in _ID_WORDS and not word.isdigit()]
    if len(words) > 1 and words[-1] == _NAME and concept not in ("title", "user", "item", "identity"):
        words = words[:-1]  # a section_name is a section, though a product_name is a title
    elif len(words) > 1 and words[-1] == _NAME and concept == "title" and strength(name, "category") > LAST_PART:
        return INNER_WORD
    if not words:
        return 0.0
    if "".join(words) in latin:
        return 1.0
    last = _of_word(words[-1], latin)
    best = LAST_WORD * last if last == 1 else last
    inner = max((INNER_WORD * _of_word(word, latin) for word in words[:-1]), default=0.0)
    return max(best, inner, _of_chinese(words, chinese))


def is_called(name: str, *concepts: str) -> float:
    """The strongest of several concepts."""
    return max(strength(name, concept) for concept in concepts)


def kind_strength(value: str) -> bool | None:
    """Whether a kind of event says that someone wanted the item; None for a word that is no known kind."""
    words = words_of(value)
    found = [_KINDS[word] for word in ["".join(words), *words, *(w.rstrip("s") for w in words)] if word in _KINDS]
    return found[0] if found else None


def kind_of_name(name: str) -> str | None:
    """The kind of events that a file's name tells of, where it does."""
    words = words_of(name)
    for kind, known in KINDS_BY_NAME.items():
        if any(word in plain(known).split() or (not word.isascii() and word in name) for word in words):
            return kind
    return None


def _of_word(word: str, latin: frozenset[str]) -> float:
    if word in latin or (word.endswith("s") and word[:-1] in latin):
        return 1.0
    for ending in _ID_ENDINGS:
        if word.endswith(ending) and word.removesuffix(ending).rstrip("s") in latin:
            return 1.0
    long = [one for one in latin if len(one) >= _SHORTEST_PART]
    if any(word.endswith(one) for one in long):
        return LAST_PART
    return FIRST_PART if any(word.startswith(one) for one in long) else 0.0


def _of_chinese(words: list[str], chinese: tuple[str, ...]) -> float:
    best = 0.0
    for word in words:
        bare = _CHINESE_IDS.sub("", word)
        for one in chinese:
            if bare.endswith(one):
                best = max(best, 1.0 if bare == one else LAST_WORD)
            elif one in bare:
                best = max(best, INNER_WORD)
    return best
