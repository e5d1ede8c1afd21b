"""What a hospital does with a message: train, and say on how many examples; the mod masks both."""

from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from least_squares.data import load_data, train_step
from least_squares.sites import AGREED, site_of
from wardround.clients.secagg import SecAggMod, agreed_terms

app = ClientApp(mods=[SecAggMod(site_of, check_terms=agreed_terms(**AGREED))])


@app.train()
def train(message: Message, context: Context) -> Message:
    """Return the weights after a step on this hospital's data."""
    hospital = site_of(context).name
    weights = message.content["arrays"]["weights"].numpy()
    trained = train_step(weights, hospital, float(context.run_config["learning-rate"]))
    metrics = MetricRecord({"num-examples": len(load_data(hospital)[1])})
    content = RecordDict({"arrays": ArrayRecord({"weights": Array(trained)}), "metrics": metrics})
    return Message(content, reply_to=message)
