"""Methods in other people's models and loops: plain transformers, Hugging Face's Trainer, accelerate."""

import copy
import dataclasses

import accelerate
import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainingArguments

from hundredfold.methods.base import Method
from hundredfold.methods.dynamic.rigl import Rigl
from hundredfold.methods.execution.session import Session
from hundredfold.methods.neurons.dsc import Dsc
from hundredfold.methods.selective.infobatch import Infobatch
from hundredfold.methods.topology import UpdateSchedule
from hundredfold.methods.views import Batch
from hundredfold.replication.config import registry
from hundredfold.replication.models._causal import replace_conv1d
from hundredfold.replication.trainer_callback import SessionTrainerCallback
from tests.conformance import small_options

STEPS, BATCH, LENGTH, VOCABULARY = 24, 4, 8, 32
TOKENS = torch.randint(VOCABULARY, (STEPS * BATCH, LENGTH + 1), generator=torch.Generator().manual_seed(0))
RIGL = Rigl(density=0.25, update=UpdateSchedule(3))
DSC = Dsc(density=0.5, interval=3, observe_every=1, multiple=1)
# Images, and the tables of a model whose head reads tokens alone
ELSEWHERE = {"progressive_resolution", "memory"}


def plain_gpt2():
    """transformers' own GPT-2, Conv1D and all."""
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=VOCABULARY, n_positions=LENGTH, n_embd=32, n_layer=2, n_head=4, n_inner=64, resid_pdrop=0.0,
        embd_pdrop=0.0, attn_pdrop=0.0, use_cache=False, bos_token_id=None, eos_token_id=None,
    )  # fmt: skip
    return GPT2LMHeadModel(config)


def train(model, method, steps=STEPS):
    """The session after some steps on a plain model."""
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3, weight_decay=0.0)
    inputs, targets = TOKENS[:, :-1], TOKENS[:, 1:].contiguous()
    training = Batch(inputs, targets, torch.arange(len(inputs)))
    session = Session(model, method, optimizer, total_steps=STEPS, training=training)
    for step in range(steps):
        rows = torch.arange(BATCH) + step * BATCH
        session.backward(inputs[rows], targets[rows], rows)
        session.step()
        optimizer.zero_grad()
    return session


@pytest.mark.parametrize("method", [RIGL, DSC], ids=lambda method: method.name())
def test_a_conv1d_model_trains_like_the_same_model_with_linear_layers(method):
    plain, linear = plain_gpt2(), plain_gpt2()
    replace_conv1d(linear)
    sessions = [train(model, method) for model in (plain, linear)]
    assert sessions[0].densities() == sessions[1].densities() and sessions[0].density() < 0.8
    assert sessions[0].executed_flops == sessions[1].executed_flops
    tokens = TOKENS[:BATCH, :-1]
    torch.testing.assert_close(plain(tokens).logits, linear(tokens).logits, rtol=1e-3, atol=1e-4)


def options_of(cls: type[Method]) -> dict:
    options = small_options(cls)
    for name in ("interval", "update"):
        if name in options:
            options[name] = 3 if name == "interval" else dataclasses.replace(options[name], interval=3)
    return options | ({"density": 0.5} if "density" in options else {})


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(registry("method")) - ELSEWHERE))
def test_every_method_takes_steps_on_a_plain_gpt2(name):
    cls = registry("method")[name]
    method = cls(**options_of(cls))
    reference = None
    if method.reference:
        reference = {"transformer.h.0.mlp.c_proj": torch.arange(64) % 2 == 0}
    model = plain_gpt2()
    if reference is None:
        session = train(model, method, steps=4)
        assert session.step_index == 4 and 0 < session.density() <= 1
    assert torch.isfinite(model(TOKENS[:2, :-1]).logits).all()


class Windows(torch.utils.data.Dataset):
    """Windows of tokens as the Trainer wants them."""

    def __len__(self):
        return len(TOKENS)

    def __getitem__(self, index):
        return {"input_ids": TOKENS[index, :-1], "labels": TOKENS[index, :-1]}


def trainer(model, method, folder, **options):
    arguments = TrainingArguments(
        output_dir=str(folder), per_device_train_batch_size=BATCH, num_train_epochs=1, learning_rate=3e-3,
        lr_scheduler_type="constant", report_to=[], save_strategy="no", use_cpu=True, disable_tqdm=True,
        logging_strategy="no", **options,
    )  # fmt: skip
    return Trainer(model, arguments, train_dataset=Windows(), callbacks=[SessionTrainerCallback(method)])


@pytest.mark.parametrize("method", [RIGL, DSC], ids=lambda method: method.name())
def test_the_trainer_callback_equals_a_plain_loop_with_clipping(method, tmp_path):
    model = plain_gpt2()
    hf = trainer(model, method, tmp_path, max_grad_norm=0.1)
    hf.train()
    plain = plain_gpt2()
    optimizer = torch.optim.AdamW(plain.parameters(), 3e-3, weight_decay=0.0)
    session = Session(plain, method, optimizer, total_steps=STEPS)
    torch.manual_seed(hf.args.seed)
    order = [batch["input_ids"] for batch in hf.get_train_dataloader()]
    plain.train()
    for tokens in order:
        plain(input_ids=tokens, labels=tokens).loss.backward()
        torch.nn.utils.clip_grad_norm_(plain.parameters(), 0.1)
        session.step()
        optimizer.zero_grad()
    callback = next(c for c in hf.callback_handler.callbacks if isinstance(c, SessionTrainerCallback))
    assert callback.session.step_index == STEPS and callback.session.densities() == session.densities()
    assert callback.session.density() < 0.8
    if method is RIGL:
        for name, mask in callback.session.active.items():
            assert not callback.session.layers[name].matrix()[~mask].any()


def test_the_trainer_callback_refuses_what_it_cannot_do(tmp_path):
    with pytest.raises(ValueError, match="infobatch remembers losses: pass the training split"):
        trainer(plain_gpt2(), Infobatch(), tmp_path).train()
    callback = SessionTrainerCallback(RIGL)
    with pytest.raises(ValueError, match="goes on at step 3; train without resume_from_checkpoint"):
        state = dataclasses.make_dataclass("State", ["global_step", "max_steps"])(3, 12)
        callback.on_train_begin(None, state, None, model=plain_gpt2(), optimizer=None)


def test_a_method_in_an_accelerate_loop_equals_a_plain_loop():
    results = []
    for accelerated in (False, True):
        model = plain_gpt2()
        optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
        backward = torch.Tensor.backward
        if accelerated:
            accelerator = accelerate.Accelerator(cpu=True)
            model, wrapped = accelerator.prepare(model, optimizer)
            optimizer, backward = wrapped.optimizer, accelerator.backward
        session = Session(model, RIGL, optimizer, total_steps=STEPS)
        for step in range(STEPS):
            tokens = TOKENS[step * BATCH : (step + 1) * BATCH, :-1]
            backward(model(input_ids=tokens, labels=tokens).loss)
            session.step()
            optimizer.zero_grad()
        results.append(copy.deepcopy(model.state_dict()))
    assert results[0].keys() == results[1].keys()
    assert all(torch.equal(value, results[1][name]) for name, value in results[0].items())
