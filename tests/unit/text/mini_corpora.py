"""Small corpora: sentences shuffled into documents with paragraphs, like web text in nothing but their language."""

# ruff: noqa: RUF001 - other scripts look like Latin
import random

import pyarrow as pa

from forgeline.core.records import documents_table

SENTENCES = {
    "zh": [
        "肾脏过滤血液，清除废物，并保持体内盐分和水分的平衡。",
        "去年市议会决定重建这座旧桥，因为重型卡车损坏了桥墩。",
        "她每天早上在公园里散步，然后去市场买新鲜的蔬菜。",
        "这本书讲述了一个年轻医生在山区工作的故事，感动了很多读者。",
        "科学家们发现，充足的睡眠对记忆力和免疫系统都很重要。",
        "火车晚点了两个小时，乘客们不得不在车站等待。",
        "他的祖父是一位木匠，教会了他如何使用各种工具。",
        "今年的雨水比往年多，农民们担心庄稼会受到影响。",
        "我们在海边住了一个星期，孩子们天天都去游泳。",
        "老师说，学习外语最好的方法就是多听、多说、多读。",
        "博物馆里收藏着许多古代的瓷器和书画，吸引了世界各地的游客。",
        "如果没有朋友的帮助，我不可能按时完成这项工作。",
    ],
    "fr": [
        "Les reins filtrent le sang, éliminent les déchets et maintiennent l'équilibre des sels et de l'eau.",
        "L'année dernière, le conseil municipal a décidé de reconstruire le vieux pont sur la rivière.",
        "Elle se promène chaque matin dans le parc avant d'acheter des légumes frais au marché.",
        "Ce livre raconte l'histoire d'un jeune médecin qui travaille dans un village de montagne.",
        "Les chercheurs ont montré que le sommeil est essentiel pour la mémoire et la santé.",
        "Le train avait deux heures de retard et les voyageurs attendaient patiemment sur le quai.",
        "Son grand-père était menuisier et lui avait appris à se servir de tous les outils.",
        "Il a plu davantage cette année, et les paysans craignent pour leurs récoltes.",
        "Nous avons passé une semaine au bord de la mer, où les enfants se baignaient tous les jours.",
        "Pour apprendre une langue, disait la maîtresse, il faut écouter, parler et lire beaucoup.",
        "Le musée conserve des porcelaines anciennes qui attirent des visiteurs du monde entier.",
        "Sans l'aide de mes amis, je n'aurais jamais terminé ce travail à temps.",
    ],
    "ja": [
        "腎臓は血液をろ過し、老廃物を取り除いて、体内の塩分と水分の均衡を保っています。",
        "市議会は昨年、重いトラックで傷んだ古い橋を建て直すことに決めました。",
        "彼女は毎朝公園を散歩してから、市場で新鮮な野菜を買います。",
        "この本は、山の村で働く若い医者の物語で、多くの読者を感動させました。",
        "十分な睡眠が記憶力と免疫にとって大切だと、研究者たちは報告しています。",
        "列車が二時間遅れたので、乗客は駅で静かに待っていました。",
        "祖父は大工で、いろいろな道具の使い方を教えてくれました。",
        "今年は雨が多く、農家の人たちは収穫を心配しています。",
        "私たちは海辺で一週間過ごし、子供たちは毎日泳ぎに行きました。",
        "外国語を学ぶには、よく聞き、よく話し、よく読むことだと先生は言いました。",
        "博物館には古い陶磁器が数多くあり、世界中から観光客が訪れます。",
        "友人の助けがなければ、この仕事を期日までに終えられなかったでしょう。",
    ],
    "th": [
        "ไตกรองเลือด กำจัดของเสีย และรักษาสมดุลของเกลือและน้ำในร่างกาย",
        "ปีที่แล้วสภาเมืองตัดสินใจสร้างสะพานเก่าขึ้นใหม่เพราะรถบรรทุกทำให้เสาสะพานเสียหาย",
        "ทุกเช้าเธอเดินเล่นในสวนสาธารณะแล้วไปซื้อผักสดที่ตลาด",
        "หนังสือเล่มนี้เล่าเรื่องของหมอหนุ่มที่ทำงานในหมู่บ้านบนภูเขา",
        "นักวิจัยพบว่าการนอนหลับที่เพียงพอสำคัญต่อความจำและภูมิคุ้มกัน",
        "รถไฟมาช้าสองชั่วโมง ผู้โดยสารจึงต้องรออยู่ที่สถานี",
        "ปู่ของเขาเป็นช่างไม้และสอนให้เขาใช้เครื่องมือต่าง ๆ",
        "ปีนี้ฝนตกมากกว่าทุกปี ชาวนาจึงกังวลเรื่องพืชผล",
        "เราอยู่ที่ชายทะเลหนึ่งสัปดาห์ เด็ก ๆ ไปว่ายน้ำทุกวัน",
        "ครูบอกว่าวิธีเรียนภาษาที่ดีที่สุดคือฟังมาก พูดมาก และอ่านมาก",
        "พิพิธภัณฑ์เก็บเครื่องลายครามโบราณไว้มากมาย มีนักท่องเที่ยวมาจากทั่วโลก",
        "ถ้าไม่มีเพื่อนช่วย ฉันคงทำงานนี้ไม่เสร็จทันเวลา",
    ],
}
_BETWEEN_SENTENCES = {"zh": "", "ja": "", "th": " ", "fr": " "}


def mini_corpus(language: str, num_documents: int = 60) -> pa.Table:
    """Documents of three paragraphs of three sentences each."""
    shuffle = random.Random(17)
    separator = _BETWEEN_SENTENCES[language]
    texts = []
    for _ in range(num_documents):
        sentences = shuffle.sample(SENTENCES[language], 9)
        texts.append("\n\n".join(separator.join(sentences[start : start + 3]) for start in (0, 3, 6)))
    return documents_table(texts, "mini")


def sentence_corpus(language: str, num_documents: int = 60) -> pa.Table:
    """Documents of one sentence each, numbered so that none equals another."""
    sentences = SENTENCES[language]
    texts = [f"{sentences[number % len(sentences)]}{number}" for number in range(num_documents)]
    return documents_table(texts, "mini")
