# SPDX-License-Identifier: Apache-2.0
"""What synthetic voices say in training: words in no order, and numbers, which espeak-ng reads in every language."""
ENGLISH = """
a about actor afraid after again air almost already always an and angry any apple april are arm artist ask asked
at august baby bad bake banana bank be beach bear beautiful bed bee been beer before begin beige believe berry
between bicycle big bird black blood blue boat bob body bone book both boy brave bread break bridge bright bring
brother brown bubble build bump bus business but butter butterfly buy by cab cake call called came camp can car
carry cat catch cave chair cheap cheese chew chicken child choose church city clever climb close cloud club
coffee cold come comfortable company cook cool could cow cry cube cup cut dangerous dark december did difficult
do doctor does dog door draw dream drink drive driver drop duck each ear early earth easy eat egg eight either
elephant eleven empty end enjoy enough evening every expensive explain eye face fall family famous farm farmer
fast father fear feather february feel felt few field fifty find finger finish fire first fish five flower fly
foot for forest forget forty found four friday friend from fruit full fun funny garage garden gave girl give
globe go goat gold good government grape grass green grey group had hair hand happy has hate have he head hear
heart heavy her hide high hill him his hold home hop hope horse hospital hot hotel house how hundred hungry i if
important in into is it january jaw joy judge july jump june keep kept king kitchen knew know lake lamp large
last late laugh lawyer leaf learn leave left leg lemon letter lift light like lion lip listen little live long
loud love low made make man many map march market may maybe me measure meat member might milk million mind mob
monday money monkey moon more morning most mother mountain mouse mouth move movie much music must my narrow neck
need neither never new next night nine nose november number nurse ocean october of office often old on one open
or orange our over page pam paper peach people pepper picture pie pig pink plane pleasure plum police possible
prefer president price problem proud pull pump purple push queen quiet quite rabbit rain rat red remember
restaurant rib rice ripe river road robe room run salad salt saturday save saw say school sea second see seek
seem seemed september seven shall shave she sheep ship shoe shop shore short should shout shove show shut silver
simple singer sister sit six skin sky sleep slow small smile snake snow soldier some sometimes song soup speak
stamp stand star start stop store storm story street stripe sugar summer sun sunday swim table take talk tea
teach teacher tell ten terrible thank that the their them these they thick thin thing think third thirsty thirty
this those thought thousand three through throw thumb thursday tiger tired to today told tomorrow tongue too
took tooth town train treasure tree tried try tube tuesday turn twelve twenty two under understand us use valley
very view village vision voice wait wake walk want warm was wash watch water wave we wear web wednesday went
were what when where which while whisper white who why wide will wind window wine wish with wolf woman won
wonderful wood wool word work worked worker would wrap writer year yellow yes yesterday you young your
""".split()

# espeak-ng's name of the language: some of its words
OTHERS = {
    "cmn": "你好 妈妈 爸爸 朋友 问题 明天 不是",
    "cs": "dobrý den máma problém kniha okno prosím",
    "da": "godmorgen mor problem bog",
    "de": "ja nein bitte mutter baum blume apfel haus strasse fenster guten morgen wir haben problem papier bruder immer schon über können möchte",
    "el": "καλημέρα μαμά πρόβλημα βιβλίο",
    "es": "hola mamá papá bueno amigo problema libro ventana mañana hombre mujer pueblo palabra siempre nombre también",
    "fi": "huomenta äiti isä ongelma kirja ikkuna",
    "fr": "bonjour maman papa bateau pomme maison fenêtre beaucoup problème bon merci nous voulons peut être lumière",
    "hi": "नमस्ते माँ पानी किताब घर बहुत मेरा",
    "hu": "jó reggelt mama probléma könyv ablak",
    "it": "buongiorno mamma papà bambino problema libro finestra mattina uomo bello pomeriggio sempre",
    "ja": "ママ おはよう ほん みず ともだち ばん",
    "ko": "안녕 엄마 아빠 물 문제",
    "nl": "goedemorgen moeder boom appel huis raam probleem papier altijd",
    "pl": "dzień dobry mama problem książka okno dom proszę bardzo pomoc",
    "pt-br": "bom dia mamãe problema livro janela homem mulher palavra sempre",
    "ro": "bună mama problemă carte om",
    "ru": "мама папа добрый проблема книга окно дом большой пожалуйста время",
    "sv": "god morgon mamma pappa problem bok fönster",
    "tr": "merhaba anne baba problem kitap ev büyük",
}


def sentence(rng, language="en"):
    words = ENGLISH if language == "en" else OTHERS[language].split()
    count = int(rng.integers(4, 10))
    said = [str(rng.integers(0, 10000)) if language != "en" and rng.random() < 0.4 else words[rng.integers(len(words))]
            for _ in range(count)]
    if rng.random() < 0.4:
        said[count // 2] += ","
    return " ".join(said) + str(rng.choice([".", "?", "!"]))
