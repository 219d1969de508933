#!/usr/bin/env python3
"""Guards that a client cannot tell this server from the real memcached, but for the differences that
docs/server.md lists: differential_test.py <rawcache> [part of a test's name]...

The same commands go to both, one after the other; the replies must be the same. {cas} stands for the
cas value that the server has told last.
"""

import random
import re
import time

import harness
from harness import numbered

LARGE = b"x" * 700_000
TOO_LARGE = b"x" * 1_048_577

STORES = """
set a 5 0 2|hi
get a
gets a
get a b a
set a 0 0 0|
get a
add a 0 0 1|1
add b 1 0 1|2
replace b 2 0 1|3
replace none 0 0 1|1
append a 9 0 3|end
prepend a 9 0 5|start
gets a b
append none 0 0 1|1
prepend none 0 0 1|1
cas none 0 0 1 1|1
cas a 0 0 1 {cas}1|1
gets b
cas b 7 0 3 {cas}|new
gets b
cas b 7 0 3 {cas} noreply|nop
get b
set a 4294967296 0 1|1
get a
set a 4294967295 0 1|1
get a
set q 0 0 1 noreply|1
add q 0 0 1 noreply|2
get q
delete q
delete q
delete q noreply
delete b 0
delete b 0 noreply
delete b 1
set  spaces   0  0   1|1
  get   spaces
"""

LIVES = """
set a 0 -1 1|1
get a
add a 0 -1 1|1
add a 0 0 1|1
set a 0 100 1|1
touch a 200
touch none 10
touch a abc
touch a 0 noreply
gat 100 a none a
gats 100 a
gat abc a
touch a -1
get a
set a 0 2000000000 1|1
get a
set a 0 1000000000 1|1
get a
set a 0 2592001 1|1
get a
"""

NUMBERS = """
set n 3 0 3|100
incr n 5
decr n 6
get n
incr n 1
get n
decr n 1000
get n
set n 0 0 20|18446744073709551615
incr n 2
get n
set n 0 0 20|18446744073709551616
incr n 1
set n 0 0 3|abc
incr n 1
decr n 1 noreply
set n 0 0 0|
incr n 1
set n 0 0 2| 5
incr n 1
set n 0 0 4|5 a\x20
incr n 1
get n
set n 0 0 2|99
incr n 1
get n
incr none 1
decr none 1
incr n abc
incr n -1
incr n 18446744073709551616
incr n 1 noreply
get n
"""

META = """
mn
mg none
mg none q
mg none k Oabc v
ms a 3 c k Oab T0 F5|abc
mg a s v t f c k Oz q
mg a k t
mg a
mg a v
mg a q k
ms Zm9v 2 b k Ox|hi
mg Zm9v b k v s
get foo
md Zm9v b k q O1
mg Zm9v b k
ms a 2 ME|yy
ms a 2 MA|yy
ms a 2 MP|zz
mg a v f
ms none 2 MA|yy
ms none 2 MR|yy
ms none 2 q MR|yy
ms a 1 MR|r
ms a 1 q MS|q
mg a v
ms a 1 C1|1
ms none 1 C1|1
mg a c
ms a 1 C{cas}|2
mg a v
ms a 2 MX|yy
ms a 2 MEE|yy
ms a 2 Q|yy
ms a 2 Tabc|yy
ms a abc
ms a
ms a 2 T-1|xx
mg a
ma n
ma n q
ma n N30 J13 v t k Oq
ma n v t
ma n MD D3 v
ma n M- D100 v
ma n q
ma n MX
ma n C1
ma n c
ma n C{cas} v
ma n T5 t v
set t 0 0 3|abc
ma t
ma t q
md none
md none q
md none k O1
md n C1
md n q
md n
me none
mg a v v
mg a !
mg a Oxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx
mg a Tabc
mg @@@ b
mx
mn foo
set t 0 100 1|1
mg t T-1 v
mg t v
"""

RECACHING = """
mg v N30 v t s
mg v N30 v t
mg v
ms v 1|1
mg v v
mg v T30 t
mg v R60 t
mg v R60 t
mg v R5 t
set a 0 0 3|old
md a I T30
mg a v
mg a v t
mg a
gets a
ms a 2 C1 I|xx
mg a v
ms a 3|new
mg a v
md a C1 I
mg a c
md a C{cas} I
mg a v
touch a 100
mg a v
"""

MALFORMED = """
GET a
Get a
foo
set a 0 0 -1
set a -1 0 1|1
set a 18446744073709551616 0 1|1
set a abc 0 1|1
set a 0 abc 1|1
set a 0 0 abc
cas a 0 0 1 abc|1
flush_all abc
flush_all noreply
flush_all 0
flush_all -1
verbosity 1
verbosity 1 noreply
stats nonsense
stats detail
stats detail on
stats detail off
stats detail dump
stats sizes
stats reset
shutdown
"""


def commands_of(text):
    return [line.replace("|", "\r\n").encode() + b"\r\n" for line in text.strip("\n").split("\n")]


def normal(reply, seen):
    """`reply` without what is known to differ: cas values are other numbers, and memcached says ERROR
    to a line of too few words up to 1.6.18, and bad command line format since."""
    return numbered(reply, seen).replace(b"CLIENT_ERROR bad command line format\r\n", b"ERROR\r\n")


def parted(reply):
    """`reply` without the seconds left that meta commands tell, and these."""
    left = re.compile(rb"((?:^|\n)(?:HD|VA)[^\r]* t)(\d+)")
    return left.sub(rb"\1", reply), [int(match[2]) for match in left.finditer(reply)]


class Differential(harness.ServerTest):
    def setUp(self):
        super().setUp()
        self.theirs = self.start_memcached()
        self.ours = self.start(capacity="256MiB")

    def assert_alike(self, ours, theirs, began):
        """Seconds left may differ by the one that ends between the two answers, and by those since `began`."""
        (ours, ours_left), (theirs, theirs_left) = parted(ours), parted(theirs)
        self.assertEqual(ours, theirs)
        self.assertEqual(len(ours_left), len(theirs_left))
        for our, their in zip(ours_left, theirs_left):
            self.assertLessEqual(abs(our - their), 1 + int(time.monotonic() - began))

    def compare(self, commands):
        began = time.monotonic()
        with self.theirs.connect() as theirs, self.ours.connect() as ours:
            seen, last = {theirs: {}, ours: {}}, {theirs: b"1", ours: b"1"}
            for command in commands:
                replies = []
                for server in (theirs, ours):
                    reply = server.ask(command.replace(b"{cas}", last[server]))
                    cas = re.findall(rb"(?:VALUE \S+ \d+ \d+| c)(?<=[ c]) ?(\d+)(?= |\r)", reply)
                    last[server] = cas[-1] if cas else last[server]
                    replies.append(normal(reply, seen[server]))
                with self.subTest(command=command[:80]):
                    self.assert_alike(replies[1], replies[0], began)

    def test_stores_are_answered_alike(self):
        self.compare(commands_of(STORES))

    def test_lives_are_answered_alike(self):
        self.compare(commands_of(LIVES))

    def test_numbers_are_answered_alike(self):
        self.compare(commands_of(NUMBERS))

    def test_meta_commands_are_answered_alike(self):
        self.compare(commands_of(META))

    def test_stale_items_and_winners_are_answered_alike(self):
        self.compare(commands_of(RECACHING))

    def test_malformed_commands_are_answered_alike(self):
        self.compare(commands_of(MALFORMED))

    def test_keys_and_values_at_their_limits_are_answered_alike(self):
        long, longer = b"k" * 250, b"k" * 251
        self.compare([
            b"set " + long + b" 0 0 1\r\n1\r\n", b"get " + long + b"\r\n",
            b"get " + longer + b"\r\n", b"get a " + longer + b"\r\n", b"delete " + longer + b"\r\n",
            b"incr " + longer + b" 1\r\n", b"mg " + longer + b" v\r\n", b"touch " + longer + b" 0\r\n",
            b"get " + b" ".join(b"key%d" % i for i in range(5000)) + b"\r\n",
            b"set a 0 0 3\r\nabcd\r\n", b"set a 0 0 3\r\nab\r\n\r\n", b"ms a 2\r\nabc\r\n",
            b"set a 0 0 3 noreply\r\nabcd\r\n", b"ms a 2 q\r\nabc\r\n",
            b"set large 0 0 700000\r\n" + LARGE + b"\r\n", b"get large\r\n",
            b"append large 0 0 700000\r\n" + LARGE + b"\r\n", b"mg large s\r\n",
            b"set large 0 0 1048577\r\n" + TOO_LARGE + b"\r\n", b"mg large s\r\n",
            b"set large 0 0 700000\r\n" + LARGE + b"\r\n",
            b"add large 0 0 1048577 noreply\r\n" + TOO_LARGE + b"\r\n", b"mg large s\r\n",
            b"set large 0 0 700000\r\n" + LARGE + b"\r\n",
            b"ms large 1048577 q\r\n" + TOO_LARGE + b"\r\n", b"mg large s\r\n",
            b"set a 0 0 1048500\r\n" + TOO_LARGE[:1048500] + b"\r\n", b"mg a s\r\n",
        ])

    def test_random_commands_are_answered_alike(self):
        seed = 1
        dice = random.Random(seed)
        keys = [b"a", b"b", b"c", b"d"]

        def value():
            return dice.choice([b"1", b"41", b"x", b"", b"18446744073709551615", b"y" * 5000])

        def command():
            key, data = dice.choice(keys), value()
            quiet = dice.choice([b"", b"", b" noreply"])
            store = dice.choice([b"set", b"add", b"replace", b"append", b"prepend"])
            meta_flags = b" ".join(dice.sample([b"k", b"Oq", b"v", b"f", b"s", b"t", b"q"], 3))
            return dice.choice([
                b"%s %s %d 0 %d%s\r\n%s\r\n" % (store, key, dice.randrange(3), len(data), quiet, data),
                b"cas %s 1 0 %d {cas}%s\r\n%s\r\n" % (key, len(data), quiet, data),
                b"gets %s %s\r\n" % (key, dice.choice(keys)),
                b"%s %s %d%s\r\n" % (dice.choice([b"incr", b"decr"]), key, dice.randrange(9), quiet),
                b"delete %s%s\r\n" % (key, quiet),
                b"mg %s %s\r\n" % (key, meta_flags),
                b"ms %s %d M%s F%d %s\r\n%s\r\n" % (
                    key, len(data), dice.choice([b"S", b"E", b"A", b"P", b"R"]), dice.randrange(3),
                    dice.choice([b"q", b"k", b""]), data),
                b"ma %s D3 M%s %s\r\n" % (key, dice.choice([b"I", b"D"]),
                                            dice.choice([b"q", b"v", b"N0 J7"])),
                b"md %s %s\r\n" % (key, dice.choice([b"", b"q", b"k"])),
            ])

        self.compare([command() for _ in range(1500)])

    def test_a_pipeline_is_answered_like_its_commands_one_by_one(self):
        # Without mn, by which ask() sees the end.
        commands = [c for c in commands_of(STORES + NUMBERS + META) if b"{cas}" not in c and not c.startswith(b"mn")]
        with self.theirs.connect() as theirs, self.ours.connect() as ours:
            whole = b"".join(commands)
            began = time.monotonic()
            self.assert_alike(normal(ours.ask(whole), {}), normal(theirs.ask(whole), {}), began)


if __name__ == "__main__":
    harness.main()
