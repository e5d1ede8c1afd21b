"""What a malicious aggregation server can do to hospitals behind a secure sum, carried out on any Flower app of theirs.

`targets` names the app, `flower_secagg` and `wardround_secagg` speak the two protocols, `by_server` has the attacks,
`findings` what they found out. `plugin` is for pytest, and `conformance` the tests that come ready made. The package
exports nothing itself: pytest loads the plugin in every run, and most of them attack nothing.
"""

__all__: list[str] = []
