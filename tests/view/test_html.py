"""Data in pages."""

import json
import re

import pytest

from cliffvid.view.html import script_json


@pytest.mark.parametrize("text", ["<!--<script>", "</script>", "a\u2028b\u2029c"])
def test_no_text_ends_or_nests_a_script_element(text):
    found = script_json({text: [text]})
    assert not re.search("[<\u2028\u2029]", found) and json.loads(found) == {text: [text]}
