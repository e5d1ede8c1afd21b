"""Pages without findings of axe-core, the rules by which accessibility is checked, in light and in dark."""

import importlib.resources

import pytest
import test_page_in_browser as run_page
import test_study_in_browser as study_page
from small_runs import small_config

import wardround
from wardround.reports.dossier.writing import write_dossier

pytestmark = pytest.mark.browser
browser, pages, studies = run_page.browser, run_page.pages, study_page.pages


def findings(browser, page, scheme):
    """Return axe's findings on a page: rule, impact, and the first element."""
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    run_page.show(browser, page)
    browser.execute_script(importlib.resources.files("axe_playwright_python").joinpath("axe.min.js").read_text())
    found = browser.execute_async_script("axe.run(document).then(arguments[arguments.length - 1])")
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    assert found["passes"]
    return [(each["id"], each["impact"], each["nodes"][0]["html"]) for each in found["violations"]]


@pytest.fixture(scope="module", params=[("private", None), ("simulation", 4)], ids=["released", "shadows"])
def audited(request, tmp_path_factory):
    """A run's page with an audit, reconstruction and released scores or attacks on real records, and its dossier."""
    release, shadow_models = request.param
    config = small_config(
        training={"num-rounds": 3},
        privacy={"noise-multiplier": 1.5},
        evaluation={"release": release},
    )
    run = wardround.run(config, out=tmp_path_factory.mktemp("axe") / "run")
    wardround.audit(run, canaries=60, shadow_models=shadow_models, reconstruct=True)
    write_dossier(run.folder, browsers=())
    return {"page": run.folder / "report.html", "dossier": run.folder / "dossier" / "dossier.html"}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["page", "dossier"])
def test_an_audited_run_s_page_and_dossier_have_no_finding(browser, audited, name, scheme):
    assert findings(browser, audited[name], scheme) == []


@pytest.mark.parametrize("name", [name for name in run_page.PAGES if name != "many"])
def test_a_run_s_page_has_no_finding(browser, pages, name):
    assert findings(browser, pages[name], "light") == []


@pytest.mark.parametrize(("name", "scheme"), [("regression", "light"), ("regression", "dark"), ("failures", "light")])
def test_a_study_s_page_has_no_finding(browser, studies, name, scheme):
    assert findings(browser, studies[name], scheme) == []


def test_what_is_not_accessible_is_found(browser, tmp_path):
    page = tmp_path / "page.html"
    page.write_text("<!doctype html><title>x</title><p style='color: #ccc'>pale</p><img src='data:,'>")
    assert {"color-contrast", "image-alt", "html-has-lang"} <= {rule for rule, *_ in findings(browser, page, "light")}
